package inject

import "unsafe"

// word is the beginning of the page.
func (b *Barrier) word() *uint64 { return (*uint64)(unsafe.Pointer(&b.page[0])) }
