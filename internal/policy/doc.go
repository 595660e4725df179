// Package policy decides which authority a restore gets.
//
// The parties: the image asks for authority (Want, from the needs of its
// plan), somebody signed it (verify.Verdict), somebody runs rstr (Subject), and
// the administrator says what of it may be (Policy). Judge brings the four
// together and says of every want who grants it, or what comes nearest to a
// grant and why it isn't one.
//
// Nothing is granted by default, with two exceptions that need no policy:
//
//   - root's own trust: a caller whose real and effective user is root gets what
//     root has anyway, for an image that a key in root's own trust signed;
//   - cap_checkpoint_restore as a file capability of the installed rstr, by which
//     the administrator has said that everybody may have PIDs (pid:here).
//
// The package is pure. Who the caller is today, which groups she has now and
// whether her account is locked are facts that come in.
package policy
