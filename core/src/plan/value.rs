//! Values of Rego as objects of Python. A null pointer is the absence of a value.
//!
//! The evaluator works on the objects that `gateway.policy.plan.values` describes. It handles the usual types itself, and
//! calls the function of Python for each other one. So there is one meaning.

use pyo3::ffi;
use pyo3::prelude::*;
use std::ptr;

pub type Obj = *mut ffi::PyObject;

/// An error that Python holds (`PyErr_Occurred`).
pub struct Fail;
pub type Res<T> = Result<T, Fail>;

/// An owned object, or null for undefined.
#[repr(transparent)]
pub struct V(pub Obj);

impl V {
    pub const NONE: V = V(ptr::null_mut());

    /// Take a new reference to an object that someone else owns.
    #[inline]
    pub unsafe fn share(found: Obj) -> V {
        ffi::Py_XINCREF(found);
        V(found)
    }

    /// Take over a new reference from Python. Null is an error.
    #[inline]
    pub unsafe fn made(found: Obj) -> Res<V> {
        if found.is_null() {
            Err(Fail)
        } else {
            Ok(V(found))
        }
    }

    #[inline]
    pub fn is_none(&self) -> bool {
        self.0.is_null()
    }
}

impl Drop for V {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the value owns its reference, and the evaluator holds the GIL.
        unsafe { ffi::Py_XDECREF(self.0) }
    }
}

/// The types of values of Rego.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Undefined,
    Null,
    Bool,
    Int,
    Decimal,
    Str,
    List,
    Dict,
    Set,
    Other,
}

/// The functions and types of Python that the evaluator calls.
pub struct World {
    pub undefined: Obj,
    pub decimal: *mut ffi::PyTypeObject,
    pub dot: Obj,
    pub equal: Obj,
    pub insert_once: Obj,
    pub items: Obj,
    pub key: Obj,
    pub length: Obj,
    pub members: Obj,
    pub merge: Obj,
    pub once: Obj,
    pub to_json: Obj,
    pub upsert: Obj,
    pub failed: Obj,
    _owned: Vec<Py<PyAny>>,
}

impl World {
    /// Find what the evaluator needs in `gateway.policy.plan.values`, given as a module.
    pub fn new(values: &Bound<'_, PyAny>) -> PyResult<World> {
        let mut owned: Vec<Py<PyAny>> = Vec::new();
        let mut named = |name: &str| -> PyResult<Obj> {
            let found = values.getattr(name)?;
            let raw = found.as_ptr();
            owned.push(found.unbind());
            Ok(raw)
        };
        let undefined = named("U")?;
        let decimal = named("Decimal")?.cast();
        let world = World {
            undefined,
            decimal,
            dot: named("dot")?,
            equal: named("equal")?,
            insert_once: named("insert_once")?,
            items: named("items")?,
            key: named("key")?,
            length: named("length")?,
            members: named("members")?,
            merge: named("merge")?,
            once: named("once")?,
            to_json: named("to_json")?,
            upsert: named("upsert")?,
            failed: named("EvaluationFailed")?,
            _owned: Vec::new(),
        };
        Ok(World {
            _owned: owned,
            ..world
        })
    }

    #[inline]
    pub unsafe fn kind(&self, found: Obj) -> Kind {
        if found.is_null() {
            return Kind::Undefined;
        }
        let of = ffi::Py_TYPE(found);
        if of == &raw mut ffi::PyUnicode_Type {
            Kind::Str
        } else if of == &raw mut ffi::PyDict_Type {
            Kind::Dict
        } else if of == &raw mut ffi::PyList_Type {
            Kind::List
        } else if of == &raw mut ffi::PyBool_Type {
            Kind::Bool
        } else if of == &raw mut ffi::PyLong_Type {
            Kind::Int
        } else if of == &raw mut ffi::PySet_Type {
            Kind::Set
        } else if found == ffi::Py_None() {
            Kind::Null
        } else if of == self.decimal {
            Kind::Decimal
        } else {
            Kind::Other
        }
    }

    /// Return an object for Python, which has an object for undefined.
    #[inline]
    pub unsafe fn shown(&self, found: Obj) -> Obj {
        if found.is_null() {
            self.undefined
        } else {
            found
        }
    }

    /// Return an object that a collection holds, with null for undefined.
    #[inline]
    pub unsafe fn held_item(&self, found: Obj) -> V {
        if found == self.undefined {
            V::NONE
        } else {
            V::share(found)
        }
    }

    /// Call a function of Python.
    pub unsafe fn call(&self, function: Obj, arguments: &[Obj]) -> Res<V> {
        let tuple = V::made(ffi::PyTuple_New(arguments.len() as ffi::Py_ssize_t))?;
        for (place, argument) in arguments.iter().enumerate() {
            let shown = self.shown(*argument);
            ffi::Py_INCREF(shown);
            ffi::PyTuple_SetItem(tuple.0, place as ffi::Py_ssize_t, shown);
        }
        let result = V::made(ffi::PyObject_CallObject(function, tuple.0))?;
        Ok(if result.0 == self.undefined {
            V::NONE
        } else {
            result
        })
    }

    // --- keys ---

    /// Return a value as a key of a dictionary or a member of a set.
    #[inline]
    pub unsafe fn as_key(&self, value: Obj) -> Res<V> {
        match self.kind(value) {
            Kind::Str | Kind::Int | Kind::Decimal | Kind::Null => Ok(V::share(value)),
            _ => self.call(self.key, &[value]),
        }
    }

    /// Return what a dictionary has for a key that is a string.
    #[inline]
    pub unsafe fn field(&self, value: Obj, name: Obj) -> Res<V> {
        let found = ffi::PyDict_GetItemWithError(value, name);
        if found.is_null() {
            return if ffi::PyErr_Occurred().is_null() {
                Ok(V::NONE)
            } else {
                Err(Fail)
            };
        }
        Ok(self.held_item(found))
    }

    /// Return the value below a key, an index or a member.
    #[inline]
    pub unsafe fn dot(&self, value: Obj, name: Obj) -> Res<V> {
        match (self.kind(value), self.kind(name)) {
            (Kind::Dict, Kind::Str) => self.field(value, name),
            (
                Kind::Undefined | Kind::Null | Kind::Bool | Kind::Int | Kind::Decimal | Kind::Str,
                _,
            ) => Ok(V::NONE),
            (Kind::List, Kind::Int) => match small(name) {
                Some(index)
                    if index >= 0 && (index as ffi::Py_ssize_t) < ffi::PyList_Size(value) =>
                {
                    Ok(self.held_item(ffi::PyList_GetItem(value, index as ffi::Py_ssize_t)))
                }
                Some(_) => Ok(V::NONE),
                None => self.call(self.dot, &[value, name]),
            },
            (Kind::Set, Kind::Str) => Ok(if contains(value, name)? {
                V::share(name)
            } else {
                V::NONE
            }),
            _ => self.call(self.dot, &[value, name]),
        }
    }

    // --- equality ---

    /// Return whether two values are the same. 1 is 1.0, and not true.
    #[inline]
    pub unsafe fn equal(&self, a: Obj, b: Obj) -> Res<bool> {
        if a == b {
            return Ok(true);
        }
        self.equal_within(a, b, 0)
    }

    unsafe fn equal_within(&self, a: Obj, b: Obj, depth: u32) -> Res<bool> {
        if a == b {
            return Ok(true);
        }
        match (self.kind(a), self.kind(b)) {
            (Kind::Str, Kind::Str) => Ok(ffi::PyUnicode_Compare(a, b) == 0),
            (Kind::Int | Kind::Decimal, Kind::Int | Kind::Decimal) | (Kind::Set, Kind::Set) => {
                same(a, b)
            }
            (Kind::List, Kind::List) if depth < DEPTH => self.equal_lists(a, b, depth + 1),
            (Kind::Dict, Kind::Dict) if depth < DEPTH => self.equal_dicts(a, b, depth + 1),
            (Kind::List, Kind::List)
            | (Kind::Dict, Kind::Dict)
            | (Kind::Other, _)
            | (_, Kind::Other) => {
                let found = self.call(self.equal, &[a, b])?;
                Ok(found.0 == ffi::Py_True())
            }
            _ => Ok(false),
        }
    }

    unsafe fn equal_lists(&self, a: Obj, b: Obj, depth: u32) -> Res<bool> {
        let size = ffi::PyList_Size(a);
        if size != ffi::PyList_Size(b) {
            return Ok(false);
        }
        for place in 0..size {
            if !self.equal_within(
                ffi::PyList_GetItem(a, place),
                ffi::PyList_GetItem(b, place),
                depth,
            )? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    unsafe fn equal_dicts(&self, a: Obj, b: Obj, depth: u32) -> Res<bool> {
        if ffi::PyDict_Size(a) != ffi::PyDict_Size(b) {
            return Ok(false);
        }
        let (mut place, mut name, mut item) = (0, ptr::null_mut(), ptr::null_mut());
        while ffi::PyDict_Next(a, &mut place, &mut name, &mut item) != 0 {
            let other = ffi::PyDict_GetItemWithError(b, name);
            if other.is_null() && !ffi::PyErr_Occurred().is_null() {
                return Err(Fail);
            }
            if !self.equal_within(item, self.shown(other), depth)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    // --- collections ---

    /// Return the members of a set in order, as a list of Python.
    pub unsafe fn members(&self, value: Obj) -> Res<V> {
        let size = ffi::PySet_Size(value);
        let found = V::made(ffi::PySequence_List(value))?;
        if size == 0 {
            return Ok(found);
        }
        if size > 1 || self.kind(ffi::PyList_GetItem(found.0, 0)) != Kind::Str {
            return self
                .sorted(found)
                .unwrap_or_else(|| self.call(self.members, &[value]));
        }
        Ok(found)
    }

    /// Return a list of strings in order, `None` if it has something else.
    unsafe fn sorted(&self, list: V) -> Option<Res<V>> {
        for place in 0..ffi::PyList_Size(list.0) {
            if self.kind(ffi::PyList_GetItem(list.0, place)) != Kind::Str {
                return None;
            }
        }
        Some(if ffi::PyList_Sort(list.0) < 0 {
            Err(Fail)
        } else {
            Ok(list)
        })
    }

    /// Return the keys of a dictionary of strings in order, `None` if it has other keys.
    pub unsafe fn names(&self, value: Obj) -> Option<Res<V>> {
        let found = match V::made(ffi::PyDict_Keys(value)) {
            Ok(found) => found,
            Err(failed) => return Some(Err(failed)),
        };
        self.sorted(found)
    }

    /// Return a value as JSON has it.
    pub unsafe fn to_json(&self, value: Obj, depth: u32) -> Res<V> {
        match self.kind(value) {
            Kind::Null | Kind::Bool | Kind::Int | Kind::Str => Ok(V::share(value)),
            Kind::List if depth < DEPTH => {
                let size = ffi::PyList_Size(value);
                let list = V::made(ffi::PyList_New(size))?;
                for place in 0..size {
                    let item = self.to_json(ffi::PyList_GetItem(value, place), depth + 1)?;
                    ffi::PyList_SetItem(list.0, place, item.0);
                    std::mem::forget(item);
                }
                Ok(list)
            }
            Kind::Dict if depth < DEPTH => {
                let fields = V::made(ffi::PyDict_New())?;
                let (mut at, mut name, mut item) = (0, ptr::null_mut(), ptr::null_mut());
                while ffi::PyDict_Next(value, &mut at, &mut name, &mut item) != 0 {
                    if self.kind(name) != Kind::Str {
                        return self.call(self.to_json, &[value]);
                    }
                    let item = self.to_json(item, depth + 1)?;
                    done(ffi::PyDict_SetItem(fields.0, name, item.0))?;
                }
                Ok(fields)
            }
            Kind::Set if depth < DEPTH && ffi::PySet_Size(value) == 0 => {
                V::made(ffi::PyList_New(0))
            }
            _ => self.call(self.to_json, &[value]),
        }
    }
}

/// The nesting that the evaluator follows itself. The functions of Python refuse what is nested without end.
const DEPTH: u32 = 60;

/// Return an integer of 64 bits, `None` for a larger one.
#[inline]
pub unsafe fn small(value: Obj) -> Option<i64> {
    let mut overflow = 0;
    let found = ffi::PyLong_AsLongLongAndOverflow(value, &mut overflow);
    if overflow != 0 {
        return None;
    }
    Some(found)
}

#[inline]
pub unsafe fn contains(set: Obj, member: Obj) -> Res<bool> {
    match ffi::PySet_Contains(set, member) {
        -1 => Err(Fail),
        found => Ok(found == 1),
    }
}

pub unsafe fn same(a: Obj, b: Obj) -> Res<bool> {
    match ffi::PyObject_RichCompareBool(a, b, ffi::Py_EQ) {
        -1 => Err(Fail),
        found => Ok(found == 1),
    }
}

#[inline]
pub fn done(status: std::os::raw::c_int) -> Res<()> {
    if status < 0 { Err(Fail) } else { Ok(()) }
}

#[inline]
pub unsafe fn truth(value: bool) -> V {
    V::share(if value {
        ffi::Py_True()
    } else {
        ffi::Py_False()
    })
}
