//! What reading a body makes of good, broken and hostile bytes.
