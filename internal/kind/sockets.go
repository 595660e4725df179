package kind

// Sockets is what the engine's Dump offers beside: the two sockets of a pair
// name each other by inode (sock_diag(7)), whoever holds them.
type Sockets interface {
	// Socket finds the description of the tree whose socket has the inode;
	// nil if it has none.
	Socket(ino uint64) *FileSite
}
