// Package kind says what it is to support a resource.
//
// A kind is one sort of resource: a pipe, a timerfd, a process's umask. It
// looks at a site (site.go) and says whether it is responsible for it; it
// turns the site into a record, checks a record that came from an image, and
// plans the steps that make the resource again. Each site has exactly one
// kind that claims it, and any number that contribute to it. A site that
// nobody claims is refused by name, never skipped.
//
// The engines know kinds only through the Kind interface; New makes one from
// a Spec with typed functions. What belongs to no single resource is the
// engines' own and stands in tree.go: the task tree, sessions and groups,
// zombies, registers, descriptor numbers, memory contents.
package kind
