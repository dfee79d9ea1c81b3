// The dashboard: it asks /v1/status once a second while it is seen, follows /v1/events, and draws. All text comes from
// outside (DNS has a say in it), so elements are made one by one and get textContent; no HTML is ever put together.

const $ = (id) => document.getElementById(id)
const every = 1000, kept = 120, sparks = 60, mostRows = 200, mostEvents = 300

function make(tag, props = {}, ...children) {
  const e = document.createElement(tag)
  for (const [name, value] of Object.entries(props)) name in e ? (e[name] = value) : e.setAttribute(name, value)
  e.append(...children)
  return e
}

function svg(tag, attributes) {
  const e = document.createElementNS('http://www.w3.org/2000/svg', tag)
  for (const [name, value] of Object.entries(attributes)) e.setAttribute(name, value)
  return e
}

// Figures for people.

function bytes(n) {
  let unit = 0
  for (; n >= 1023.5 && unit < 6; unit++) n /= 1024
  return (unit === 0 || n >= 100 ? n.toFixed(0) : n.toFixed(1)) + ' ' + ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB'][unit]
}

function span(s) {
  if (s < 0) s = 0
  if (s < 1) return Math.round(s * 1000) + ' ms'
  if (s < 60) return s.toFixed(s < 10 ? 1 : 0) + ' s'
  if (s < 3600) return Math.floor(s / 60) + ' min ' + Math.floor(s % 60) + ' s'
  if (s < 86400) return Math.floor(s / 3600) + ' h ' + Math.floor((s % 3600) / 60) + ' min'
  return Math.floor(s / 86400) + ' d ' + Math.floor((s % 86400) / 3600) + ' h'
}

const perSecond = (n) => (n >= 100 || n === 0 ? n.toFixed(0) : n.toFixed(1)) + '/s'

// Lists of elements that stay: focus and selection survive a look, and what did not change is not touched.

// keyed brings the children of parent in line with items: one for each, in their order.
function keyed(parent, items, key, fresh, update) {
  const before = new Map()
  for (const child of parent.children) before.set(child.dataset.key, child)
  let at = parent.firstElementChild
  for (const item of items) {
    const k = key(item)
    let e = before.get(k)
    before.delete(k)
    if (!e) {
      e = fresh(item)
      e.dataset.key = k
    }
    if (e === at) at = at.nextElementSibling
    else parent.insertBefore(e, at)
    update(e, item)
  }
  for (const gone of before.values()) gone.remove()
}

function say(e, text) {
  text = String(text)
  if (e.textContent !== text) e.textContent = text
}

// table makes one of columns [head, class, value of an item or a function that fills the cell].
function table(columns) {
  const body = make('tbody')
  const head = make('tr', {}, ...columns.map(([name, kind]) => make('th', { className: kind, textContent: name, scope: 'col' })))
  const more = make('p', { className: 'dim', hidden: true })
  const whole = make('div', {}, make('div', { className: 'scroll' }, make('table', {}, make('thead', {}, head), body)), more)
  whole.show = (items, key) => {
    const shown = items.slice(0, mostRows)
    keyed(body, shown, key,
      () => make('tr', {}, ...columns.map(([, kind]) => make('td', { className: kind }))),
      (row, item) => columns.forEach(([, , fill], i) => {
        const cell = row.children[i], value = fill(item, cell)
        if (value !== undefined) say(cell, value)
      }))
    more.hidden = items.length <= mostRows
    say(more, items.length - shown.length + ' more; filter to see them')
  }
  return whole
}

function badge(cell, text, kind) {
  if (!cell.firstChild) cell.append(make('span'))
  cell.firstChild.className = 'badge ' + kind
  say(cell.firstChild, text)
}

// Plots.

function points(values, most) {
  const step = 100 / Math.max(kept - 1, 1)
  return values.map((v, i) => ((kept - values.length + i) * step).toFixed(2) + ',' + (29 - (v / most) * 27).toFixed(2)).join(' ')
}

function plot(title, lines) {
  const figure = make('div', { className: 'figure' })
  const picture = svg('svg', { class: 'plot', viewBox: '0 0 100 30', preserveAspectRatio: 'none', role: 'img' })
  const drawn = lines.map((_, i) => picture.appendChild(svg('polyline', i ? { class: 'second' } : {})))
  const top = make('span', { className: 'dim' })
  const card = make('div', { className: 'card' }, make('div', { className: 'dim', textContent: title }), figure, picture, top)
  card.show = (history, text) => {
    const values = lines.map((f) => history.map(f))
    const most = Math.max(...values.flat(), 1e-9)
    drawn.forEach((line, i) => line.setAttribute('points', points(values[i], most)))
    say(figure, text(...values.map((v) => v.at(-1) ?? 0)))
    say(top, 'most ' + text(...values.map((v) => Math.max(...v, 0))))
    picture.setAttribute('aria-label', title + ': ' + figure.textContent + ', ' + top.textContent)
  }
  return card
}

function spark(cell, values) {
  if (!cell.firstChild) {
    const picture = svg('svg', { class: 'spark', viewBox: '0 0 100 20', preserveAspectRatio: 'none', 'aria-hidden': 'true' })
    picture.append(svg('polyline', {}))
    cell.append(picture, make('span'))
  }
  const [picture, text] = cell.children, most = Math.max(...values, 1e-9)
  picture.style.display = values.length > 1 ? '' : 'none'
  picture.firstChild.setAttribute('points', values.map((v, i) => ((sparks - values.length + i) * 100 / (sparks - 1)).toFixed(1) + ',' + (19 - (v / most) * 17).toFixed(1)).join(' '))
  say(text, values.length ? (values.at(-1) * 1000).toFixed(values.at(-1) < 0.01 ? 2 : 0) + ' ms' : '–')
}

// What was seen.

let mayChange = false, last = null, before = null
const history = [], latency = new Map()

function remember(s) {
  const t = performance.now() / 1000
  const sum = (f) => s.listeners.reduce((n, l) => n + f(l), 0)
  const now = { t, pid: s.pid, active: sum((l) => l.active), total: sum((l) => l.total), in: sum((l) => l.in), out: sum((l) => l.out) }
  const rate = (f) => (before && before.pid === now.pid && now.t > before.t && f(now) >= f(before) ? (f(now) - f(before)) / (now.t - before.t) : 0)
  history.push({ active: now.active, fresh: rate((x) => x.total), in: rate((x) => x.in), out: rate((x) => x.out) })
  if (history.length > kept) history.shift()
  before = now
  const seen = new Set()
  for (const p of s.pools) for (const peer of p.peers) {
    const key = p.name + '|' + peer.addr
    seen.add(key)
    if (peer.latency === undefined) continue
    const list = latency.get(key) ?? []
    list.push(peer.latency)
    if (list.length > sparks) list.shift()
    latency.set(key, list)
  }
  for (const key of latency.keys()) if (!seen.has(key)) latency.delete(key)
}

// The parts of the page.

const plots = [
  [plot('sessions', [(h) => h.active]), (a) => a.toFixed(0)],
  [plot('new sessions', [(h) => h.fresh]), perSecond],
  [plot('bytes in and out', [(h) => h.in, (h) => h.out]), (i, o) => bytes(i) + '/s, ' + bytes(o) + '/s'],
]
$('traffic').append(...plots.map(([card]) => card))

const leaving = (x) => (x.leaving ? ' (leaving)' : '')

const listeners = table([
  ['listener', '', (l) => l.name + leaving(l)], ['address', '', (l) => l.protocol + '://' + l.address], ['pool', '', (l) => l.pool],
  ['active', 'number', (l) => l.active], ['total', 'number', (l) => l.total],
  ['in', 'number less', (l) => bytes(l.in)], ['out', 'number less', (l) => bytes(l.out)],
])
$('listeners').append(make('div', { className: 'card' }, listeners))

const names = table([
  ['name', '', (n) => n.name], ['type', '', (n) => n.type],
  ['answer', '', (n, cell) => badge(cell, n.kind, n.kind === 'ok' ? 'good' : n.kind === 'failure' ? 'bad' : 'warn')],
  ['age', 'number', (n) => span(n.age)], ['TTL', 'number less', (n) => span(n.ttl)], ['next', 'number', (n) => (n.next > 0 ? span(n.next) : 'now')],
  ['stale', '', (n, cell) => badge(cell, n.stale ? 'stale' : 'fresh', n.stale ? 'warn' : '')], ['failures', 'number less', (n) => n.failures],
  ['resolver', 'less', (n) => n.resolver], ['records', 'wide', (n) => n.records.join(', ') + (n.error ? ' – ' + n.error : '')],
])
const noNames = make('p', { className: 'dim', textContent: 'All backends are addresses.' })
$('names').append(make('div', { className: 'card' }, names, noNames))

const stateKind = { up: 'good', standby: '', unknown: 'warn', ejected: 'warn', down: 'bad', drain: 'warn', maint: 'warn', draining: 'warn' }

// why says of a peer that its check, or sessions, take out of service, what is wrong.
function why(p) {
  if (p.state === 'down' || p.state === 'unwanted') return [p.reason, p.detail].filter(Boolean).join(': ')
  if (p.state === 'ejected') return p.why
  return p.failures ? 'the last ' + (p.failures === 1 ? 'session' : p.failures + ' sessions') + ' could not connect' : ''
}

function peerTable(pool) {
  const actions = (peer, cell) => {
    if (!mayChange) return ''
    if (!cell.firstChild) {
      for (const word of ['drain', 'maint', 'ready', 'weight']) {
        const b = make('button', { type: 'button', textContent: word, title: word + ' ' + peer.addr })
        b.addEventListener('click', () => ask(word, pool, peer.addr))
        cell.append(b, ' ')
      }
    }
    const out = peer.admin !== 'ready'
    for (const b of cell.querySelectorAll('button')) if (b.textContent !== 'weight') b.hidden = (b.textContent === 'ready') !== out
  }
  return table([
    ['peer', '', (p) => p.addr],
    ['state', '', (p, cell) => { badge(cell, p.state, stateKind[p.state] ?? ''); cell.title = [p.why, p.detail].filter(Boolean).join(' – ') }],
    ['health', '', (p, cell) => badge(cell, p.health, { up: 'good', down: 'bad' }[p.health] ?? '')], ['role', '', (p) => p.role || '–'],
    ['tier', 'number less', (p) => p.tier], ['weight', 'number', (p) => p.weight + (p.percent ? ` × ${p.percent} %` : '') + (p.admin_weight === undefined ? '' : ' (admin)')],
    ['active', 'number', (p) => p.active], ['total', 'number less', (p) => p.total],
    ['check', '', (p, cell) => spark(cell, latency.get(pool + '|' + p.addr) ?? [])], ['from', 'wide', (p) => [p.sources.join(', '), why(p)].filter(Boolean).join(' – ')], ['', '', actions],
  ])
}

function freshPool(p) {
  const card = make('article', { className: 'card' })
  card.name = make('h3')
  card.facts = make('span', { className: 'dim' })
  card.hold = make('button', { type: 'button' })
  card.hold.addEventListener('click', () => ask(card.hold.textContent, p.name))
  card.epochs = make('ol', { className: 'epochs', ariaLabel: 'epochs of ' + p.name })
  card.peers = peerTable(p.name)
  card.append(make('header', {}, card.name, card.facts, card.hold), card.epochs, card.peers)
  return card
}

function updatePool(card, p) {
  say(card.name, p.name + leaving(p))
  say(card.facts, p.balance + ', epoch ' + p.epoch + ', ' + p.selectable + ' of ' + p.peers.length + ' peers may be picked' +
    (p.selectable > 0 && p.tier > 0 ? ', tier ' + p.tier : '') + (p.held ? ', HELD' : '') + (p.waiting > 0 ? ', ' + p.waiting + ' wait' : ''))
  card.hold.hidden = !mayChange || p.leaving === true
  say(card.hold, p.held ? 'release' : 'hold')
  const now = Date.now(), age = (e) => Math.max((now - Date.parse(e.born)) / 1000, 0), oldest = Math.max(...p.epochs.map(age), 1)
  keyed(card.epochs, p.epochs.slice(-20), (e) => String(e.id),
    () => make('li', {}, make('span'), make('span', { className: 'lane' }, make('i')), make('span', { className: 'dim' })),
    (row, e) => {
      row.className = e.retired ? '' : 'now'
      say(row.children[0], 'epoch ' + e.id + ', ' + e.cause)
      row.children[1].firstChild.style.width = (100 * age(e)) / oldest + '%'
      say(row.children[2], (e.sessions === 1 ? '1 session' : e.sessions + ' sessions') + ', ' + span(age(e)))
    })
  card.peers.show(p.shown, (peer) => peer.addr)
}

const pools = make('div')
$('pools').append(pools)

function draw() {
  const s = last
  if (!s) return
  const words = $('filter').value.toLowerCase().split(/\s+/).filter(Boolean)
  const wanted = (...texts) => { const all = texts.join(' ').toLowerCase(); return words.every((w) => all.includes(w)) }
  say($('version'), s.version)
  badge($('state'), s.stopping ? 'stopping' : s.ready ? 'ready' : 'not ready', s.ready ? 'good' : 'bad')
  $('state').title = s.reasons.join('\n')
  say($('uptime'), 'up ' + span(s.uptime) + ', engine ' + s.engine + ', ' + s.loops + ' loops')
  for (const [card, text] of plots) card.show(history, text)
  listeners.show(s.listeners.filter((l) => wanted(l.name, l.address, l.pool)), (l) => l.name + '|' + l.protocol + l.address + '|' + l.pool + leaving(l))
  const some = []
  for (const p of s.pools) {
    const shown = p.peers.filter((peer) => wanted(p.name, peer.addr, peer.state, peer.role, peer.sources.join(' ')))
    if (shown.length > 0 || wanted(p.name)) some.push({ ...p, shown })
  }
  keyed(pools, some.slice(0, mostRows), (p) => p.name + leaving(p) + (p.leaving ? p.epoch : ''), freshPool, updatePool)
  names.show(s.dns.filter((n) => wanted(n.name, n.type, n.kind, n.records.join(' '))), (n) => n.resolver + '|' + n.type + '|' + n.name)
  noNames.hidden = s.dns.length > 0
}

function trouble(text) {
  $('trouble').hidden = !text
  say($('trouble'), text)
}

// Orders.

let asked = null

function ask(word, pool, peer) {
  asked = { word, pool, peer }
  const what = { drain: 'No new sessions for ', maint: 'No new sessions, no checks, and the sessions that live are ended as on.admin_maint says: ', ready: 'Back into service: ', weight: 'Another weight for ', hold: 'New clients wait: ', release: 'Those that wait go on: ' }
  say($('question'), what[word] + (peer ? peer + ' of ' : '') + 'pool ' + pool)
  $('weightOf').hidden = word !== 'weight'
  $('weight').value = ''
  $('weight').required = word === 'weight'
  say($('yes'), word)
  say($('refusal'), '')
  $('ask').showModal()
}

$('no').addEventListener('click', () => $('ask').close())
$('ask').querySelector('form').addEventListener('submit', async (event) => {
  event.preventDefault()
  const { word, pool, peer } = asked, text = $('weight').value
  const body = word === 'weight' ? { weight: text === 'default' ? null : Number(text) } : {}
  const path = '/v1/pools/' + encodeURIComponent(pool) + (peer ? '/peers/' + encodeURIComponent(peer) : '') + '/' + word
  try {
    const reply = await fetch(path, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) })
    if (!reply.ok) throw new Error((await reply.json()).error ?? reply.statusText)
    $('ask').close()
    look()
  } catch (error) {
    say($('refusal'), error.message)
  }
})

document.addEventListener('keydown', (event) => {
  if (event.key !== '/' || event.ctrlKey || event.metaKey || event.altKey || /^(input|textarea)$/i.test(event.target.tagName) || $('ask').open) return
  event.preventDefault()
  $('filter').focus()
})
$('filter').addEventListener('input', draw)

// Looking.

async function look() {
  try {
    const reply = await fetch('/v1/status', { signal: AbortSignal.timeout(5000) })
    if (!reply.ok) throw new Error((await reply.json()).error ?? reply.statusText)
    last = await reply.json()
    remember(last)
    trouble(last.reasons.concat(last.log_dropped > 0 ? 'log lines lost since the start: ' + last.log_dropped : []).join('; '))
    draw()
  } catch (error) {
    trouble('No answer from ebb: ' + error.message + '. What is shown is old.')
  }
}

async function watch() {
  for (;;) {
    if (!document.hidden) await look()
    await new Promise((again) => setTimeout(again, every))
  }
}

function tell(e) {
  const attrs = Object.entries(e.attrs).map(([k, v]) => k + '=' + (typeof v === 'object' ? JSON.stringify(v) : v)).join(' ')
  const log = $('log')
  log.prepend(make('li', { className: e.level }, make('span', { className: 'dim', textContent: new Date(e.time).toLocaleTimeString() + ' ' }), make('b', { textContent: e.kind }), ' ' + attrs))
  while (log.children.length > mostEvents) log.lastChild.remove()
}

// follow reads server-sent events by hand: an EventSource wants to know every kind of event by name.
async function follow() {
  for (let since = 0; ;) {
    try {
      const reply = await fetch('/v1/events' + (since ? '?since=' + since : ''))
      if (!reply.ok) throw new Error(reply.statusText)
      const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader()
      for (let rest = ''; ;) {
        const { value, done } = await reader.read()
        if (done) break
        const blocks = (rest + value).split('\n\n')
        rest = blocks.pop()
        for (const block of blocks) {
          const data = block.split('\n').find((line) => line.startsWith('data:'))
          if (!data) continue
          const e = JSON.parse(data.slice(5))
          if (e.id === undefined) continue // missed some
          since = e.id
          tell(e)
        }
      }
    } catch { /* look says that there is no answer */ }
    await new Promise((again) => setTimeout(again, 2 * every))
  }
}

fetch('/', { method: 'HEAD' }).then((reply) => { mayChange = reply.headers.get('Ebb-May') === 'all' }).finally(() => { watch(); follow() })
