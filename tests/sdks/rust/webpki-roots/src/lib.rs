//! No root certificates.

pub static TLS_SERVER_ROOTS: &[pki_types::TrustAnchor<'static>] = &[];
