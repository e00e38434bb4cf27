"""Detection of credentials in passing texts; it reports an identity, never the value. `ruleset` loads formats, `named`
knows names of credentials, `detect` finds both in text, `forms` undoes encodings, and `fingerprint` names values.
`calls` inspects arguments, `stream` inspects passing results, and `origins` keeps the system of each credential. The
package uses no clock, socket or randomness."""
