//! The shipped relay.toml, the hand-broken files, and problems generated from the list of keys.
