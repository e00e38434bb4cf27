//! Lines of the journal and their links, as `gateway/journal/chain.py` makes them.

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use sha2::{Digest, Sha256};

use crate::guard::guarded;

const BLOCK: usize = 64;
const CHECK: &[u8] = b",\"check\":\"";
const CHECK_DIGITS: usize = 32;
const END: &[u8] = b"\"}";

/// The links of one journal: HMAC-SHA-256 (FIPS 198-1) with a key, SHA-256 without. Each state has taken the key in.
#[pyclass(frozen)]
pub struct Chain {
    inner: Sha256,
    outer: Option<Sha256>,
}

#[pymethods]
impl Chain {
    /// `key` is the chain's own key.
    #[new]
    #[pyo3(signature = (key))]
    fn new(key: Option<&[u8]>) -> Self {
        let Some(key) = key else {
            return Self {
                inner: Sha256::new(),
                outer: None,
            };
        };
        let mut padded = [0u8; BLOCK];
        if key.len() > BLOCK {
            padded[..32].copy_from_slice(&Sha256::digest(key));
        } else {
            padded[..key.len()].copy_from_slice(key);
        }
        let state = |pad: u8| Sha256::new_with_prefix(padded.map(|byte| byte ^ pad));
        Self {
            inner: state(0x36),
            outer: Some(state(0x5c)),
        }
    }

    /// Returns the bytes of a line without a newline, and its link.
    fn linked<'py>(
        &self,
        py: Python<'py>,
        seq: u64,
        time: &str,
        kind: &str,
        fields: &[u8],
        prev: &str,
    ) -> PyResult<(Bound<'py, PyBytes>, String)> {
        guarded(|| {
            let mut line = Vec::with_capacity(fields.len() + kind.len() + 256);
            line.extend_from_slice(b"{\"seq\":");
            line.extend_from_slice(seq.to_string().as_bytes());
            line.extend_from_slice(b",\"time\":\"");
            line.extend_from_slice(time.as_bytes());
            line.extend_from_slice(b"\",\"kind\":\"");
            line.extend_from_slice(kind.as_bytes());
            line.push(b'"');
            if fields.len() > 2 {
                line.push(b',');
                line.extend_from_slice(&fields[1..fields.len() - 1]);
            }
            line.extend_from_slice(b",\"prev\":\"");
            line.extend_from_slice(prev.as_bytes());
            line.push(b'"');
            let mut state = self.inner.clone();
            state.update(&line);
            let covered = line.len();
            line.extend_from_slice(CHECK);
            line.extend_from_slice(&self.digits(state.clone())[..CHECK_DIGITS]);
            line.extend_from_slice(END);
            state.update(&line[covered..]);
            let link = String::from_utf8_lossy(&self.digits(state)).into_owned();
            Ok((PyBytes::new(py, &line), link))
        })
    }
}

impl Chain {
    /// Returns the hex digits of the link for the bytes that an inner state has taken in.
    fn digits(&self, inner: Sha256) -> [u8; 64] {
        let mut digest = inner.finalize();
        if let Some(outer) = &self.outer {
            let mut state = outer.clone();
            state.update(digest);
            digest = state.finalize();
        }
        let mut digits = [0u8; 64];
        for (place, byte) in digest.iter().enumerate() {
            digits[2 * place] = HEX[usize::from(byte >> 4)];
            digits[2 * place + 1] = HEX[usize::from(byte & 15)];
        }
        digits
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";
