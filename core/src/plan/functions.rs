//! Built-in functions for operands of their usual types. `None` sends a call to the function of Python.

use pyo3::ffi;

use super::value::{Kind, Obj, Res, V, World, contains, done, small, truth};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Function {
    Other,
    And,
    ArrayConcat,
    Concat,
    Contains,
    Count,
    Endswith,
    Equal,
    Greater,
    GreaterOrEqual,
    IsOf(Kind),
    IsNumber,
    Less,
    LessOrEqual,
    Lower,
    Member,
    Minus,
    NotEqual,
    ObjectGet,
    ObjectKeys,
    ObjectRemove,
    Or,
    Plus,
    Split,
    Startswith,
    Substring,
    Union,
}

impl Function {
    /// Return the form of a function, `Other` for a function of Python alone.
    pub fn named(name: &str, arguments: usize) -> Function {
        let (found, wanted) = match name {
            "and" => (Function::And, 2),
            "array.concat" => (Function::ArrayConcat, 2),
            "concat" => (Function::Concat, 2),
            "contains" => (Function::Contains, 2),
            "count" => (Function::Count, 1),
            "endswith" => (Function::Endswith, 2),
            "equal" => (Function::Equal, 2),
            "gt" => (Function::Greater, 2),
            "gte" => (Function::GreaterOrEqual, 2),
            "internal.member_2" => (Function::Member, 2),
            "is_array" => (Function::IsOf(Kind::List), 1),
            "is_boolean" => (Function::IsOf(Kind::Bool), 1),
            "is_null" => (Function::IsOf(Kind::Null), 1),
            "is_number" => (Function::IsNumber, 1),
            "is_object" => (Function::IsOf(Kind::Dict), 1),
            "is_set" => (Function::IsOf(Kind::Set), 1),
            "is_string" => (Function::IsOf(Kind::Str), 1),
            "lower" => (Function::Lower, 1),
            "lt" => (Function::Less, 2),
            "lte" => (Function::LessOrEqual, 2),
            "minus" => (Function::Minus, 2),
            "neq" => (Function::NotEqual, 2),
            "object.get" => (Function::ObjectGet, 3),
            "object.keys" => (Function::ObjectKeys, 1),
            "object.remove" => (Function::ObjectRemove, 2),
            "or" => (Function::Or, 2),
            "plus" => (Function::Plus, 2),
            "split" => (Function::Split, 2),
            "startswith" => (Function::Startswith, 2),
            "substring" => (Function::Substring, 3),
            "union" => (Function::Union, 1),
            _ => return Function::Other,
        };
        if arguments == wanted {
            found
        } else {
            Function::Other
        }
    }
}

impl Function {
    /// Return whether a function always gives true or false.
    pub fn gives_truth(self) -> bool {
        matches!(
            self,
            Function::Contains
                | Function::Endswith
                | Function::Equal
                | Function::Greater
                | Function::GreaterOrEqual
                | Function::IsOf(_)
                | Function::IsNumber
                | Function::Less
                | Function::LessOrEqual
                | Function::Member
                | Function::NotEqual
                | Function::Startswith
        )
    }
}

impl World {
    /// Return the value of a built-in function, `None` if the function of Python has to give it.
    pub unsafe fn apply(&self, function: Function, given: &[Obj]) -> Res<Option<V>> {
        let kind = |place: usize| self.kind(given[place]);
        Ok(Some(match function {
            Function::Equal => truth(self.equal(given[0], given[1])?),
            Function::NotEqual => truth(!self.equal(given[0], given[1])?),
            Function::IsOf(wanted) => truth(kind(0) == wanted),
            Function::IsNumber => truth(matches!(kind(0), Kind::Int | Kind::Decimal)),
            Function::Less => {
                return Ok(self.order(given[0], given[1]).map(|found| truth(found < 0)));
            }
            Function::LessOrEqual => {
                return Ok(self
                    .order(given[0], given[1])
                    .map(|found| truth(found <= 0)));
            }
            Function::Greater => {
                return Ok(self.order(given[0], given[1]).map(|found| truth(found > 0)));
            }
            Function::GreaterOrEqual => {
                return Ok(self
                    .order(given[0], given[1])
                    .map(|found| truth(found >= 0)));
            }
            Function::Member => return self.member(given[0], given[1]),
            Function::Count => match kind(0) {
                Kind::Str => self.int(ffi::PyUnicode_GetLength(given[0]))?,
                Kind::List => self.int(ffi::PyList_Size(given[0]))?,
                Kind::Dict => self.int(ffi::PyDict_Size(given[0]))?,
                Kind::Set => self.int(ffi::PySet_Size(given[0]))?,
                _ => return Ok(None),
            },
            Function::Contains if kind(0) == Kind::Str && kind(1) == Kind::Str => {
                let found = ffi::PyUnicode_Contains(given[0], given[1]);
                done(found)?;
                truth(found == 1)
            }
            Function::Startswith if kind(0) == Kind::Str && kind(1) == Kind::Str => {
                ends(given[0], given[1], -1)?
            }
            Function::Endswith if kind(0) == Kind::Str && kind(1) == Kind::Str => {
                ends(given[0], given[1], 1)?
            }
            Function::Concat if kind(0) == Kind::Str => return self.concat(given[0], given[1]),
            Function::Split
                if kind(0) == Kind::Str
                    && kind(1) == Kind::Str
                    && ffi::PyUnicode_GetLength(given[1]) > 0 =>
            {
                V::made(ffi::PyUnicode_Split(given[0], given[1], -1))?
            }
            Function::Substring
                if kind(0) == Kind::Str && kind(1) == Kind::Int && kind(2) == Kind::Int =>
            {
                return self.substring(given);
            }
            Function::Lower if kind(0) == Kind::Str => return self.lower(given[0]),
            Function::ObjectGet if kind(0) == Kind::Dict => return self.get(given),
            Function::ObjectKeys if kind(0) == Kind::Dict => V::made(ffi::PySet_New(given[0]))?,
            Function::ObjectRemove if kind(0) == Kind::Dict => {
                return self.remove(given[0], given[1]);
            }
            Function::And if kind(0) == Kind::Set && kind(1) == Kind::Set => {
                V::made(ffi::PyNumber_And(given[0], given[1]))?
            }
            Function::Or if kind(0) == Kind::Set && kind(1) == Kind::Set => {
                V::made(ffi::PyNumber_Or(given[0], given[1]))?
            }
            Function::Minus if kind(0) == Kind::Set && kind(1) == Kind::Set => {
                V::made(ffi::PyNumber_Subtract(given[0], given[1]))?
            }
            Function::Minus if kind(0) == Kind::Int && kind(1) == Kind::Int => {
                V::made(ffi::PyNumber_Subtract(given[0], given[1]))?
            }
            Function::Plus if kind(0) == Kind::Int && kind(1) == Kind::Int => {
                V::made(ffi::PyNumber_Add(given[0], given[1]))?
            }
            Function::ArrayConcat if kind(0) == Kind::List && kind(1) == Kind::List => {
                V::made(ffi::PySequence_Concat(given[0], given[1]))?
            }
            _ => return Ok(None),
        }))
    }

    unsafe fn int(&self, found: ffi::Py_ssize_t) -> Res<V> {
        V::made(ffi::PyLong_FromSsize_t(found))
    }

    /// Return the order of two values, `None` for values that Python has to compare.
    unsafe fn order(&self, a: Obj, b: Obj) -> Option<i32> {
        let (kind, other) = (self.kind(a), self.kind(b));
        match (kind, other) {
            (Kind::Int, Kind::Int) => {
                let (a, b) = (small(a)?, small(b)?);
                return Some(if a < b { -1 } else { i32::from(a > b) });
            }
            (Kind::Str, Kind::Str) => return Some(ffi::PyUnicode_Compare(a, b)),
            _ => {}
        }
        let (rank, other_rank) = (rank(kind)?, rank(other)?);
        if rank != other_rank {
            return Some(if rank < other_rank { -1 } else { 1 });
        }
        // Of two collections, an empty one comes first.
        let (size, other_size) = match kind {
            Kind::List => (ffi::PyList_Size(a), ffi::PyList_Size(b)),
            Kind::Dict => (ffi::PyDict_Size(a), ffi::PyDict_Size(b)),
            Kind::Set => (ffi::PySet_Size(a), ffi::PySet_Size(b)),
            _ => return None,
        };
        (size == 0 || other_size == 0).then(|| i32::from(size > 0) - i32::from(other_size > 0))
    }

    unsafe fn member(&self, value: Obj, within: Obj) -> Res<Option<V>> {
        match (self.kind(value), self.kind(within)) {
            (Kind::Str | Kind::Int | Kind::Decimal | Kind::Null, Kind::Set) => {
                return Ok(Some(truth(contains(within, value)?)));
            }
            (Kind::Undefined | Kind::Other, _) => return Ok(None),
            (_, Kind::List) => {
                for place in 0..ffi::PyList_Size(within) {
                    if self.equal(value, ffi::PyList_GetItem(within, place))? {
                        return Ok(Some(truth(true)));
                    }
                }
                return Ok(Some(truth(false)));
            }
            (_, Kind::Dict) => {
                let (mut at, mut name, mut item) = (0, std::ptr::null_mut(), std::ptr::null_mut());
                while ffi::PyDict_Next(within, &mut at, &mut name, &mut item) != 0 {
                    if self.equal(value, item)? {
                        return Ok(Some(truth(true)));
                    }
                }
                return Ok(Some(truth(false)));
            }
            (_, Kind::Set | Kind::Other) => {}
            _ => return Ok(Some(truth(false))),
        }
        Ok(None)
    }

    unsafe fn concat(&self, separator: Obj, parts: Obj) -> Res<Option<V>> {
        if self.kind(parts) != Kind::List {
            return Ok(None);
        }
        for place in 0..ffi::PyList_Size(parts) {
            if self.kind(ffi::PyList_GetItem(parts, place)) != Kind::Str {
                return Ok(None);
            }
        }
        Ok(Some(V::made(ffi::PyUnicode_Join(separator, parts))?))
    }

    unsafe fn substring(&self, given: &[Obj]) -> Res<Option<V>> {
        let (Some(start), Some(size)) = (small(given[1]), small(given[2])) else {
            return Ok(None);
        };
        if start < 0 {
            return Ok(None);
        }
        let whole = ffi::PyUnicode_GetLength(given[0]) as i64;
        let start = start.min(whole);
        let end = if size < 0 {
            whole
        } else {
            start.saturating_add(size).min(whole)
        };
        let found =
            ffi::PyUnicode_Substring(given[0], start as ffi::Py_ssize_t, end as ffi::Py_ssize_t);
        Ok(Some(V::made(found)?))
    }

    /// Return a string of ASCII in small letters.
    unsafe fn lower(&self, value: Obj) -> Res<Option<V>> {
        let mut size = 0;
        let text = ffi::PyUnicode_AsUTF8AndSize(value, &mut size);
        if text.is_null() {
            ffi::PyErr_Clear();
            return Ok(None);
        }
        let text = std::slice::from_raw_parts(text.cast::<u8>(), size as usize);
        if !text.is_ascii() {
            return Ok(None);
        }
        if !text.iter().any(u8::is_ascii_uppercase) {
            return Ok(Some(V::share(value)));
        }
        let small = text.to_ascii_lowercase();
        Ok(Some(V::made(ffi::PyUnicode_FromStringAndSize(
            small.as_ptr().cast(),
            size,
        ))?))
    }

    unsafe fn get(&self, given: &[Obj]) -> Res<Option<V>> {
        let (value, path, default) = (given[0], given[1], given[2]);
        let found = match self.kind(path) {
            Kind::Str => self.field(value, path)?,
            Kind::List => {
                let mut found = V::share(value);
                for place in 0..ffi::PyList_Size(path) {
                    let step = ffi::PyList_GetItem(path, place);
                    if self.kind(step) != Kind::Str {
                        return Ok(None);
                    }
                    found = self.dot(found.0, step)?;
                    if found.is_none() {
                        break;
                    }
                }
                found
            }
            _ => return Ok(None),
        };
        Ok(Some(if found.is_none() {
            V::share(default)
        } else {
            found
        }))
    }

    unsafe fn remove(&self, value: Obj, names: Obj) -> Res<Option<V>> {
        if self.kind(names) != Kind::List {
            return Ok(None);
        }
        let size = ffi::PyList_Size(names);
        for place in 0..size {
            if self.kind(ffi::PyList_GetItem(names, place)) != Kind::Str {
                return Ok(None);
            }
        }
        let left = V::made(ffi::PyDict_Copy(value))?;
        for place in 0..size {
            let name = ffi::PyList_GetItem(names, place);
            match ffi::PyDict_Contains(left.0, name) {
                0 => {}
                found => {
                    done(found)?;
                    done(ffi::PyDict_DelItem(left.0, name))?;
                }
            }
        }
        Ok(Some(left))
    }
}

/// Return the place of a type in the order of values, `None` for what is no value.
fn rank(kind: Kind) -> Option<u8> {
    Some(match kind {
        Kind::Null => 0,
        Kind::Bool => 1,
        Kind::Int | Kind::Decimal => 2,
        Kind::Str => 3,
        Kind::List => 4,
        Kind::Dict => 5,
        Kind::Set => 6,
        Kind::Undefined | Kind::Other => return None,
    })
}

unsafe fn ends(value: Obj, part: Obj, side: std::os::raw::c_int) -> Res<V> {
    let found = ffi::PyUnicode_Tailmatch(value, part, 0, ffi::Py_ssize_t::MAX, side);
    done(found as std::os::raw::c_int)?;
    Ok(truth(found == 1))
}
