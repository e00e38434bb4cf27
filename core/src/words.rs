//! Words of texts and their keyed digests, as `gateway/inspection/words/words.py` makes them.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use aes::Aes256;
use aes::cipher::{Block, BlockCipherEncrypt, KeyInit};
use blake2::digest::{FixedOutput, Update};
use blake2::{
    Blake2bMac,
    digest::consts::{U8, U32},
};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyFrozenSet, PyList, PySet, PyString};

use crate::guard::guarded;

const MAX_WORD: usize = 256;
const BLOCK: usize = 16;
/// Keys that are kept in the form of a cipher.
const KEPT_KEYS: usize = 8;

/// The keyed functions of words: of more than a block, and of at most a block.
struct Keyed {
    key: Vec<u8>,
    long: Blake2bMac<U8>,
    short: Aes256,
}

impl Keyed {
    fn new(key: &[u8]) -> PyResult<Self> {
        if key.is_empty() {
            return Err(PyValueError::new_err("digests of words need a key"));
        }
        let used = &key[..key.len().min(64)];
        let unfit = |_| PyValueError::new_err("the key of digests of words does not fit");
        let long = Blake2bMac::<U8>::new_with_salt_and_personal(Some(used), &[], b"opagate/words")
            .map_err(unfit)?;
        let derived =
            Blake2bMac::<U32>::new_with_salt_and_personal(Some(used), &[], b"opagate/words/16")
                .map_err(unfit)?;
        let short = Aes256::new(&derived.finalize_fixed());
        Ok(Self {
            key: key.to_vec(),
            long,
            short,
        })
    }

    fn digest(&self, word: &[u8]) -> u64 {
        if word.len() > BLOCK || word.contains(&0) {
            let mut state = self.long.clone();
            state.update(word);
            let digest: [u8; 8] = state.finalize_fixed().into();
            return u64::from_be_bytes(digest);
        }
        let mut block = Block::<Aes256>::default();
        block[..word.len()].copy_from_slice(word);
        self.short.encrypt_block(&mut block);
        let mut half = [0; 8];
        half.copy_from_slice(&block[..8]);
        u64::from_le_bytes(half)
    }
}

/// The search for words, with the common words of Python and its search for account numbers.
#[pyclass(frozen)]
pub struct Words {
    common: HashSet<Vec<u8>>,
    accounts: Py<PyAny>,
    keys: Mutex<Vec<Arc<Keyed>>>,
}

#[pymethods]
impl Words {
    /// `common` are words that do not count. `accounts` returns the account numbers of a text as words.
    #[new]
    fn new(common: Vec<Vec<u8>>, accounts: Py<PyAny>) -> Self {
        Self {
            common: common.into_iter().collect(),
            accounts,
            keys: Mutex::default(),
        }
    }

    /// Returns the keyed 64-bit digest of each word.
    fn digests<'py>(
        &self,
        py: Python<'py>,
        words: &Bound<'py, PyAny>,
        key: &[u8],
    ) -> PyResult<Bound<'py, PyFrozenSet>> {
        guarded(|| {
            let keyed = self.keyed(key)?;
            let mut found = Vec::new();
            for word in words.try_iter()? {
                found.push(keyed.digest(word?.cast::<PyBytes>()?.as_bytes()));
            }
            PyFrozenSet::new(py, found)
        })
    }

    /// Returns the words of a text that rarely come by chance.
    fn distinctive<'py>(
        &self,
        py: Python<'py>,
        text: &Bound<'py, PyString>,
    ) -> PyResult<Bound<'py, PySet>> {
        guarded(|| {
            let lowered = lower(text)?;
            let (found, may_have_account) = distinctive_words(&lowered, &self.common);
            let set = PySet::new(py, found.iter().map(|word| PyBytes::new(py, word)))?;
            if may_have_account {
                for account in self.accounts_in(py, text)? {
                    set.add(account)?;
                }
            }
            Ok(set)
        })
    }
}

impl Words {
    fn keyed(&self, key: &[u8]) -> PyResult<Arc<Keyed>> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(keyed) = keys.iter().find(|keyed| keyed.key == key) {
            return Ok(Arc::clone(keyed));
        }
        let keyed = Arc::new(Keyed::new(key)?);
        if keys.len() >= KEPT_KEYS {
            keys.clear();
        }
        keys.push(Arc::clone(&keyed));
        Ok(keyed)
    }

    fn accounts_in<'py>(
        &self,
        py: Python<'py>,
        text: &Bound<'py, PyString>,
    ) -> PyResult<Vec<Bound<'py, PyBytes>>> {
        let found = self.accounts.bind(py).call1((text,))?;
        let list = found.cast_into::<PyList>()?;
        list.iter()
            .map(|item| Ok(item.cast_into::<PyBytes>()?))
            .collect()
    }
}

/// Returns a text in lower case. Python lowers texts with other letters than those of ASCII: the tables are its own.
fn lower<'a>(text: &'a Bound<'_, PyString>) -> PyResult<Cow<'a, [u8]>> {
    if let Ok(plain) = text.to_str()
        && plain.is_ascii()
    {
        return Ok(if plain.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Cow::Owned(plain.as_bytes().to_ascii_lowercase())
        } else {
            Cow::Borrowed(plain.as_bytes())
        });
    }
    let lowered = text.call_method0("lower")?;
    let encoded = lowered.call_method1("encode", ("utf-8", "surrogatepass"))?;
    Ok(Cow::Owned(without_typography(
        encoded.cast_into::<PyBytes>()?.as_bytes(),
    )))
}

/// The marks between words beyond ASCII, in UTF-8: `_TYPOGRAPHY` of Python.
const TYPOGRAPHY: &str = "\u{a0}\u{ab}\u{bb}\u{2009}\u{200b}\u{2013}\u{2014}\u{2018}\u{2019}\u{201c}\u{201d}\u{2022}\u{2026}\u{202f}\u{3001}\u{3002}\u{ff0c}";

/// Returns a text with a space for each mark of typography. Surrogates are kept as Python encodes them.
fn without_typography(text: &[u8]) -> Vec<u8> {
    let mut found = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let length = match text[at] {
            0xc0..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xff => 4,
            _ => 1,
        };
        let letter = &text[at..text.len().min(at + length)];
        if length > 1 && std::str::from_utf8(letter).is_ok_and(|letter| TYPOGRAPHY.contains(letter))
        {
            found.push(b' ');
        } else {
            found.extend_from_slice(letter);
        }
        at += length;
    }
    found
}

fn is_word_byte(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'z' | 128..) || is_edge(byte) || byte == b'$'
}

fn is_edge(byte: u8) -> bool {
    matches!(byte, b'_' | b'-' | b'.' | b'@' | b'+' | b'%' | b':' | b'/')
}

fn is_joint(byte: u8) -> bool {
    matches!(byte, b'@' | b':' | b'/')
}

fn strip(word: &[u8]) -> &[u8] {
    let start = word
        .iter()
        .position(|byte| !is_edge(*byte))
        .unwrap_or(word.len());
    let end = word
        .iter()
        .rposition(|byte| !is_edge(*byte))
        .map_or(start, |last| last + 1);
    &word[start..end]
}

fn ends_in_four_digits(word: &[u8]) -> bool {
    word.len() >= 4 && word[word.len() - 4..].iter().all(u8::is_ascii_digit)
}

/// Returns the distinctive words of a lowered text without its account numbers, and whether it may have some.
fn distinctive_words<'a>(
    lowered: &'a [u8],
    common: &HashSet<Vec<u8>>,
) -> (HashSet<&'a [u8]>, bool) {
    let mut found = HashSet::new();
    let mut may_have_account = false;
    let mut add = |word: &'a [u8]| {
        if word.len() > 7 || (word.len() > 4 && ends_in_four_digits(word)) {
            let word = &word[..word.len().min(MAX_WORD)];
            if !(common.contains(word) || (word[0] <= 57 && is_time(word))) {
                found.insert(word);
            }
        }
    };
    for word in lowered.split(|byte| !is_word_byte(*byte)) {
        if !(word.len() > 7 || (word.len() > 3 && word[3].is_ascii_digit())) {
            continue;
        }
        if word.len() == 4
            && word[..2].iter().all(u8::is_ascii_lowercase)
            && word[2..].iter().all(u8::is_ascii_digit)
        {
            may_have_account = true;
        }
        let long = strip(word);
        add(long);
        if long.iter().any(|byte| is_joint(*byte)) {
            for part in long.split(|byte| is_joint(*byte)) {
                if part.len() > 4 {
                    add(strip(part));
                }
            }
        }
    }
    (found, may_have_account)
}

/// Returns whether a word is a date or a time: `_TIME` of Python.
fn is_time(word: &[u8]) -> bool {
    is_date(word) || is_clock_time(word)
}

fn digits(text: &[u8], count: usize) -> Option<&[u8]> {
    (text.len() >= count && text[..count].iter().all(u8::is_ascii_digit)).then(|| &text[count..])
}

fn after(text: &[u8], mark: u8) -> &[u8] {
    text.strip_prefix(&[mark]).unwrap_or(text)
}

fn is_date(word: &[u8]) -> bool {
    let Some(rest) = digits(word, 4) else {
        return false;
    };
    let month = after(rest, b'-');
    let Some(rest) = digits(month, 2) else {
        return false;
    };
    let day = after(rest, b'-');
    let Some(rest) = digits(day, 2) else {
        return false;
    };
    if month[0] > b'1' || day[0] > b'3' {
        return false;
    }
    let Some(time) = rest.strip_prefix(b"t") else {
        return rest.is_empty();
    };
    let length = time
        .iter()
        .take_while(|byte| byte.is_ascii_digit() || matches!(byte, b':' | b'.'))
        .count();
    length > 0 && is_zone(&time[length..])
}

fn is_zone(text: &[u8]) -> bool {
    if text.is_empty() || text == b"z" {
        return true;
    }
    let Some(offset) = text.strip_prefix(b"+").or_else(|| text.strip_prefix(b"-")) else {
        return false;
    };
    digits(offset, 2)
        .and_then(|rest| digits(after(rest, b':'), 2))
        .is_some_and(<[u8]>::is_empty)
}

fn is_clock_time(word: &[u8]) -> bool {
    let hours = word.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if !(1..=2).contains(&hours) {
        return false;
    }
    let Some(rest) = word[hours..]
        .strip_prefix(b":")
        .and_then(|rest| digits(rest, 2))
    else {
        return false;
    };
    let mut rest = rest;
    if let Some(seconds) = rest.strip_prefix(b":") {
        let Some(following) = digits(seconds, 2) else {
            return false;
        };
        rest = following;
        if let Some(fraction) = rest.strip_prefix(b".") {
            let length = fraction
                .iter()
                .take_while(|byte| byte.is_ascii_digit())
                .count();
            if length == 0 {
                return false;
            }
            rest = &fraction[length..];
        }
    }
    rest.is_empty() || rest == b"z"
}
