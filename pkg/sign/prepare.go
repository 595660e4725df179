package sign

import "crypto/ed25519"

// Prepare makes the tables that the first Ed25519 signature of a process and its
// check need: about 2 ms of work, to be done while something else is. It takes part
// in no signature, and without it they are made in time.
func Prepare() {
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	ed25519.Verify(key.Public().(ed25519.PublicKey), nil, ed25519.Sign(key, nil))
}
