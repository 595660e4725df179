package inject

// The pieces of code in interp_amd64.s, by their number in codeAddr.
const (
	pieceBoot = iota
	pieceRun
	pieceLeave
	piecePark
	pieceHeir
	piecePause
	pieces
)

// Bodies in interp_amd64.s, never called here: only their addresses are
// taken, by the assembly.
//
//lint:ignore U1000 used by the assembly
func boot()

//lint:ignore U1000 used by the assembly
func run()

//lint:ignore U1000 used by the assembly
func leave()

//lint:ignore U1000 used by the assembly
func park()

//lint:ignore U1000 used by the assembly
func heir()

//lint:ignore U1000 used by the assembly
func pauseLoop()

// codeAddr is where piece n lies in the tool's own text.
func codeAddr(piece int) uintptr

// cpuid is the instruction.
func cpuid(leaf, sub uint32) (eax, ebx, ecx, edx uint32)

// code is the text that a Space holds: all pieces one after another, since
// boot falls into run, and where each begins.
type code struct {
	text []byte
	at   [pieces]uint64
}

func newCode() code {
	var c code
	for i := range pieces {
		c.at[i] = uint64(len(c.text))
		c.text = append(c.text, pieceText(i)...)
	}
	return c
}
