//go:build linux

package link

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// End is one end of a link: where, the device's name, and its IPv4 address with the length of the network's prefix.
type End struct {
	Space   *Space
	Device  string
	Address netip.Prefix
}

// open makes the TUN device of an end, gives it its address and takes it up.
func (e End) open(mtu int) (f *os.File, err error) {
	if !e.Address.Addr().Is4() {
		return nil, fmt.Errorf("device %s: address %v: expected an IPv4 address with a prefix length, as 10.1.0.1/30", e.Device, e.Address)
	}
	err = e.Space.Do(func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open /dev/net/tun: %w", err)
		}
		if err := makeTUN(fd, e.Device); err != nil {
			_ = unix.Close(fd)
			return err
		}
		f = os.NewFile(uintptr(fd), e.Device) // now, since a device that is not made yet cannot be polled
		if err := set(e.Device, unix.SIOCSIFADDR, func(r *unix.Ifreq) error { return r.SetInet4Addr(e.Address.Addr().AsSlice()) }); err != nil {
			return err
		}
		mask := binary.BigEndian.AppendUint32(nil, ^uint32(0)<<(32-e.Address.Bits()))
		if err := set(e.Device, unix.SIOCSIFNETMASK, func(r *unix.Ifreq) error { return r.SetInet4Addr(mask) }); err != nil {
			return err
		}
		if err := set(e.Device, unix.SIOCSIFMTU, func(r *unix.Ifreq) error { r.SetUint32(uint32(mtu)); return nil }); err != nil {
			return err
		}
		return up(e.Device)
	})
	if err != nil && f != nil {
		f.Close()
	}
	return f, err
}

func makeTUN(fd int, device string) error {
	r, err := unix.NewIfreq(device)
	if err != nil {
		return fmt.Errorf("device %q: expected 1 to 15 bytes: %w", device, err)
	}
	r.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, r); err != nil {
		return fmt.Errorf("make device %s: %w", device, err)
	}
	return nil
}

// up takes a device of this thread's namespace up.
func up(device string) error {
	return set(device, unix.SIOCSIFFLAGS, func(r *unix.Ifreq) error { r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING); return nil })
}

// set makes one request for a device of this thread's namespace (netdevice(7)).
func set(device string, request uint, fill func(*unix.Ifreq) error) error {
	r, err := unix.NewIfreq(device)
	if err != nil {
		return fmt.Errorf("device %q: %w", device, err)
	}
	if err := fill(r); err != nil {
		return fmt.Errorf("device %s: %w", device, err)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	if err := unix.IoctlIfreq(fd, request, r); err != nil {
		return fmt.Errorf("device %s: request %#x: %w", device, request, err)
	}
	return nil
}
