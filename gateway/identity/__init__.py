"""Authentication: tokens and certificates to a `Principal` (phase 3 of a call). `identities.Identities` is the way in."""
