package main

import (
	"errors"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/cli"
	"github.com/ckptool/ckpt/internal/kernelio"
)

// A tree that may have another user's rights gets none of its caller's terminals,
// into whose shell it could type (TIOCSTI in ioctl_tty(2)). As long as rstr stays
// with it, the tree has a pseudoterminal instead, and rstr passes on what is
// written there and what the caller types, by her own rights and no others. The
// pseudoterminal controls no session: what its keys mean to a process group, such
// as ctrl-C, her own terminal makes signals of for rstr, which passes those on.

// relay is between the caller's terminal and the tree's.
type relay struct {
	in, out *os.File // the caller's; in is nil where her input is no terminal
	master  *os.File
	slave   *kernelio.FD
	was     *unix.Termios // the caller's
	places  []int         // the standard streams that are the slave until the tree has it

	moving  sync.Mutex // while something is on its way out
	mu      sync.Mutex // the rest
	raw     bool
	reading bool
}

// newRelay makes a terminal for the tree that is like the caller's, which some of
// the standard streams are.
func newRelay(terminals []int) (*relay, error) {
	master, slave, err := kernelio.OpenPTY()
	if err != nil {
		return nil, err
	}
	r := &relay{master: os.NewFile(uintptr(master.Take()), "pseudoterminal"), slave: slave, places: terminals}
	real := terminals[0]
	if r.was, err = kernelio.Termios(real); err == nil {
		err = errors.Join(kernelio.SetTermios(slave.Int(), r.was), kernelio.CopyWindow(real, slave.Int()), r.keep())
	}
	if err != nil {
		return nil, errors.Join(err, r.master.Close(), slave.Close())
	}
	return r, nil
}

// keep keeps the caller's terminals, of which the last one is for output.
func (r *relay) keep() (err error) {
	if r.places[0] == 0 {
		if r.in, err = keep(0, "standard input"); err != nil {
			return err
		}
	}
	r.out, err = keep(r.places[len(r.places)-1], "the caller's terminal")
	return err
}

// keep takes a copy of a standard stream that is the caller's terminal.
func keep(n int, name string) (*os.File, error) {
	own, err := kernelio.DupAbove(n, 3, name)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(own.Take()), name), nil
}

// begin relays from now on, if the tree has the terminal.
func (r *relay) begin() {
	if r == nil {
		return
	}
	if err := r.leave(); err != nil {
		return
	}
	if now, err := kernelio.Ready(int(r.master.Fd()), unix.POLLIN, false); err != nil || now&unix.POLLHUP != 0 {
		return
	}
	r.resize() // nobody was told of a change until now
	go r.output()
	r.attend()
}

// leave lets go of the slave, or nothing would tell when nobody has it any more.
func (r *relay) leave() error {
	null, err := kernelio.OpenPath(os.DevNull, unix.O_RDWR)
	if err != nil {
		return err
	}
	defer null.Close()
	for _, n := range r.places {
		if err := kernelio.Dup3(null.Int(), n, 0); err != nil {
			return err
		}
	}
	return r.slave.Close()
}

// output passes on what the tree writes, until nobody is left to write.
func (r *relay) output() {
	buf := make([]byte, 32<<10)
	for {
		if _, err := kernelio.Ready(int(r.master.Fd()), unix.POLLIN, true); err != nil {
			return
		}
		r.moving.Lock()
		n, err := r.master.Read(buf)
		if n > 0 {
			_, _ = r.out.Write(buf[:n])
		}
		r.moving.Unlock()
		if err != nil {
			return
		}
	}
}

// attend has the caller's terminal give every key to the tree at once, if its
// keys are this program's.
func (r *relay) attend() {
	if r == nil || r.in == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.mine() {
		return
	}
	if r.raw = kernelio.SetTermios(int(r.in.Fd()), rawFor(*r.was)) == nil; r.raw && !r.reading {
		r.reading = true
		go r.input()
	}
}

// mine says whether the keys of the caller's terminal are this program's: it is in
// the foreground, or the terminal controls somebody else's session.
func (r *relay) mine() bool {
	group := kernelio.Foreground(int(r.in.Fd()))
	return group == 0 || group == kernelio.ProcessGroup()
}

// rawFor has a terminal change nothing, and still make signals of some keys.
func rawFor(t unix.Termios) *unix.Termios {
	t.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	t.Oflag &^= unix.OPOST
	t.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.IEXTEN
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
	return &t
}

// input passes on what the caller types.
func (r *relay) input() {
	buf := make([]byte, 4<<10)
	for {
		n, err := r.in.Read(buf)
		if n > 0 {
			_, err = r.master.Write(buf[:n])
		}
		if err != nil {
			return
		}
	}
}

// rest gives the caller's terminal back as it was.
func (r *relay) rest() {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.raw && r.mine() {
		_ = kernelio.SetTermios(int(r.in.Fd()), r.was)
		r.raw = false
	}
}

// resize tells the tree's terminal of a new size of the caller's.
func (r *relay) resize() {
	if r != nil {
		_ = kernelio.CopyWindow(int(r.out.Fd()), int(r.master.Fd()))
	}
}

// last is how long what is left of the tree may go on writing when its root has
// ended.
const last = time.Second

// end passes on what the tree has written to the last, and gives the caller's
// terminal back.
func (r *relay) end() {
	if r == nil {
		return
	}
	for begin := time.Now(); r.pending() && time.Since(begin) < last; {
		time.Sleep(time.Millisecond)
	}
	r.rest()
}

func (r *relay) pending() bool {
	r.moving.Lock()
	defer r.moving.Unlock()
	now, err := kernelio.Ready(int(r.master.Fd()), unix.POLLIN, false)
	return err == nil && now&unix.POLLIN != 0
}

// leaveTerminal puts something else in the place of standard streams that are a
// terminal: a relay's, if rstr stays, or /dev/null. Messages go to the caller's
// still.
func (s *streams) leaveTerminal(stays bool) (*relay, error) {
	var terminals []int
	for n := range 3 {
		if cli.IsTerminal(n) {
			terminals = append(terminals, n)
		}
	}
	if len(terminals) == 0 {
		return nil, nil
	}
	if cli.IsTerminal(2) {
		errs, err := keep(2, "standard error")
		if err != nil {
			return nil, err
		}
		s.errs, s.speaker.To = errs, errs
	}
	var r *relay
	other, err := kernelio.OpenPath(os.DevNull, unix.O_RDWR)
	if err != nil {
		return nil, err
	}
	defer other.Close()
	place := other.Int()
	if stays {
		if r, err = newRelay(terminals); err != nil { // as where no pseudoterminals are mounted
			s.speaker.Detail("the tree gets no terminal: %v", err)
		} else {
			place = r.slave.Int()
		}
	}
	for _, n := range terminals {
		if err := kernelio.Dup3(place, n, 0); err != nil {
			return nil, err
		}
	}
	return r, nil
}
