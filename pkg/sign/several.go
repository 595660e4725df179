package sign

import (
	"bytes"
	"slices"
)

// All has every signer sign manifest. The signatures are in the order that an image
// must have them in: what image.Writer.Close wants of its sign function.
func All(manifest []byte, signers ...*Signer) ([][]byte, error) {
	var blobs [][]byte
	for _, s := range signers {
		blob, err := s.Sign(manifest)
		if err != nil {
			return nil, err
		}
		blobs = Add(blobs, blob)
	}
	return blobs, nil
}

// Add is an image's signatures with one more among them, in the order of their
// bytes: an image has each order of signatures only once, so that changing it is
// a change that verifiers refuse.
func Add(blobs [][]byte, blob []byte) [][]byte {
	all := append(slices.Clone(blobs), blob)
	slices.SortFunc(all, bytes.Compare)
	return slices.CompactFunc(all, bytes.Equal)
}
