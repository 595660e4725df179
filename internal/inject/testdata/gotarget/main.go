// A Go program that checks itself: goroutines on small stacks, garbage
// collection, timers, a pipe. The board is that of target.c.
package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

var board []byte

func beat(n int) { atomic.AddUint64((*uint64)(unsafe.Pointer(&board[8*n])), 1) }

func fail(format string, args ...any) {
	if atomic.AddUint64((*uint64)(unsafe.Pointer(&board[128])), 1) == 1 {
		copy(board[144:], fmt.Sprintf(format, args...))
	}
}

type tree struct{ left, right *tree }

func grow(n int) *tree {
	if n == 0 {
		return &tree{}
	}
	return &tree{grow(n - 1), grow(n - 1)}
}

func (t *tree) size() int {
	if t.left == nil {
		return 1
	}
	return 1 + t.left.size() + t.right.size()
}

func collect() {
	for {
		if n := grow(12).size(); n != 1<<13-1 {
			fail("a tree of %d nodes", n)
		}
		beat(0)
	}
}

func talk() {
	a, b := make(chan int), make(chan int)
	go func() {
		for n := range a {
			b <- n + 1
		}
	}()
	for n := 0; ; n++ {
		if a <- n; <-b != n+1 {
			fail("lost count at %d", n)
		}
		if n%1000 == 0 {
			runtime.GC()
			beat(1)
		}
	}
}

func nap() {
	for {
		at := time.Now()
		time.Sleep(5 * time.Millisecond)
		if d := time.Since(at); d < 5*time.Millisecond {
			fail("slept for %v", d)
		}
		beat(2)
	}
}

func pipe() {
	r, w, err := os.Pipe()
	if err != nil {
		fail("pipe: %v", err)
	}
	go func() {
		for n := uint32(0); ; n++ {
			if _, err := w.Write(binary.LittleEndian.AppendUint32(nil, n)); err != nil {
				fail("write: %v", err)
			}
			if n%50 == 0 {
				time.Sleep(time.Millisecond)
			}
		}
	}()
	var b [4]byte
	for n := uint32(0); ; n++ {
		if _, err := r.Read(b[:]); err != nil || binary.LittleEndian.Uint32(b[:]) != n {
			fail("read %d, not %d: %v", b, n, err)
		}
		beat(3)
	}
}

func main() {
	f, err := os.OpenFile(os.Args[1], os.O_RDWR, 0)
	if err != nil {
		panic(err)
	}
	board, err = syscall.Mmap(int(f.Fd()), 0, 4096, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		panic(err)
	}
	go collect()
	go talk()
	go nap()
	pipe()
}
