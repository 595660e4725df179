package kinds

import "encoding/binary"

// epollEvent is struct epoll_event (linux/eventpoll.h), packed on x86-64.
func epollEvent(events uint32, data uint64) []byte {
	return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint32(nil, events), data)
}
