package check

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// scramMechanism is RFC 5802 and RFC 7677, without channel binding.
const scramMechanism = "SCRAM-SHA-256"

// mostIterations bounds what a server may make this host compute. PostgreSQL's own is 4096.
const mostIterations = 100_000

// scramKey is the key that was derived last, for a server that gives the same salt again. That is all that is slow in it.
type scramKey struct {
	mu         sync.Mutex
	password   string
	salt       string
	iterations int
	key        []byte
}

func (k *scramKey) of(password, salt string, iterations int) ([]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.key == nil || k.password != password || k.salt != salt || k.iterations != iterations {
		key, err := pbkdf2.Key(sha256.New, password, []byte(salt), iterations, sha256.Size)
		if err != nil {
			return nil, err
		}
		k.password, k.salt, k.iterations, k.key = password, salt, iterations, key
	}
	return k.key, nil
}

// scram is the client's side of one exchange. The password is taken as it stands: PostgreSQL takes it in the normal form
// NFKC, in which text is that people type.
type scram struct {
	password string
	keys     *scramKey
	nonce    string
	bare     string // the client's first message without its header
	server   []byte // the signature that the server must have
	verified bool
}

func newScram(mechanisms []string, password string, keys *scramKey) (*scram, error) {
	if !slices.Contains(mechanisms, scramMechanism) {
		return nil, &failure{Denied, fmt.Errorf("the server offers no %s", scramMechanism)}
	}
	nonce := base64.StdEncoding.EncodeToString([]byte(rand.Text()))
	return &scram{password: password, keys: keys, nonce: nonce, bare: "n=,r=" + nonce}, nil
}

func (s *scram) first() []byte { return []byte("n,," + s.bare) }

// final answers the server's first message.
func (s *scram) final(message []byte) ([]byte, error) {
	bad := &failure{Garbled, fmt.Errorf("the server's challenge makes no sense: %s", quote(message))}
	if s == nil || s.server != nil {
		return nil, bad
	}
	parts := strings.Split(string(message), ",")
	if len(parts) < 3 || !strings.HasPrefix(parts[0], "r="+s.nonce) || !strings.HasPrefix(parts[1], "s=") || !strings.HasPrefix(parts[2], "i=") {
		return nil, bad
	}
	salt, err := base64.StdEncoding.DecodeString(parts[1][2:])
	iterations, err2 := strconv.Atoi(parts[2][2:])
	if err != nil || err2 != nil || iterations < 1 || iterations > mostIterations || len(parts[0]) == len("r="+s.nonce) {
		return nil, bad
	}
	salted, err := s.keys.of(s.password, string(salt), iterations)
	if err != nil {
		return nil, err
	}
	clientKey := mac(salted, "Client Key")
	stored := sha256.Sum256(clientKey)
	unproven := "c=biws," + parts[0] // the header "n,," in base64
	all := s.bare + "," + string(message) + "," + unproven
	proof := mac(stored[:], all)
	for i := range proof {
		proof[i] ^= clientKey[i]
	}
	s.server = mac(mac(salted, "Server Key"), all)
	return []byte(unproven + ",p=" + base64.StdEncoding.EncodeToString(proof)), nil
}

// verify takes the server's last message: it must know the password too.
func (s *scram) verify(message []byte) error {
	text, ok := strings.CutPrefix(string(message), "v=")
	signature, err := base64.StdEncoding.DecodeString(text)
	if s == nil || s.server == nil || !ok || err != nil || !hmac.Equal(signature, s.server) {
		return &failure{Denied, errors.New("the server does not prove that it knows the password")}
	}
	s.verified = true
	return nil
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}
