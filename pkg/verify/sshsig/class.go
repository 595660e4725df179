package sshsig

// Class says what a signature over an image stands for. Each has an SSHSIG
// namespace of its own, so that one cannot be passed off as another.
type Class uint8

const (
	// None is the class of an unsigned image.
	None Class = iota
	// Self is integrity only: the image grants what it would unsigned.
	Self
	// Operator is a person's word for the content.
	Operator
	// Host is a host's word for the credentials it saw at the dump, not for the content.
	Host
)

// Classes are the classes a signature can have.
func Classes() []Class { return []Class{Self, Operator, Host} }

// Namespace is the SSHSIG namespace of c, empty for None.
func (c Class) Namespace() string {
	switch c {
	case Self:
		return "ckpt-image-self@v1"
	case Operator:
		return "ckpt-image-operator@v1"
	case Host:
		return "ckpt-image-host@v1"
	}
	return ""
}

// String is the class's name in messages and in an image's header.
func (c Class) String() string {
	switch c {
	case Self:
		return "self"
	case Operator:
		return "operator"
	case Host:
		return "host"
	}
	return "none"
}

// ClassOf is the class whose namespace is ns; ok is false for anybody else's.
func ClassOf(ns string) (c Class, ok bool) {
	for _, c := range Classes() {
		if c.Namespace() == ns {
			return c, true
		}
	}
	return None, false
}

// ClassNamed is the class that String gives name, None included.
func ClassNamed(name string) (c Class, ok bool) {
	for _, c := range append(Classes(), None) {
		if c.String() == name {
			return c, true
		}
	}
	return None, false
}
