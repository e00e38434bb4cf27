//! The evaluator of OPA's plan of a policy. `gateway/policy/plan` writes the same as Python, and is the specification.
//!
//! This module alone has `unsafe`: it calls the functions of Python's stable interface that borrow. Three rules make it safe.
//! All of it holds the GIL. An owned object is a `V`, and a borrowed `Obj` lives no longer than the local, the constant or the
//! collection that owns it. Numbers of locals, rules and paths are made when a plan is read, and are never larger than their table.

#![allow(unsafe_code, unsafe_op_in_unsafe_fn)]

mod functions;
mod read;
mod run;
mod shorten;
mod value;

use std::sync::Mutex;

use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::types::PyFrozenSet;

use crate::guard::guarded;

use read::Plan;
use run::{Memory, Run};
use value::{Obj, V, World};

/// A policy with its data.
#[pyclass(frozen, module = "opagate_core")]
pub struct Program {
    /// The names of the questions.
    #[pyo3(get)]
    entries: Py<PyFrozenSet>,
    plan: Plan,
    world: World,
    data: Py<PyAny>,
    /// Lent to one evaluation at a time.
    memory: Mutex<Option<Box<Memory>>>,
}

// SAFETY: the pointers within are to objects that the program owns, and all use of them holds the GIL.
unsafe impl Send for Program {}
// SAFETY: as above.
unsafe impl Sync for Program {}

#[pymethods]
impl Program {
    /// Read a decoded plan. Raise `ValueError` for a plan with anything that the evaluator does not know.
    #[new]
    fn new(
        plan: &Bound<'_, PyAny>,
        data: Py<PyAny>,
        functions: &Bound<'_, PyAny>,
        values: &Bound<'_, PyAny>,
    ) -> PyResult<Program> {
        let world = World::new(values)?;
        let plan = guarded(|| read::read(plan, functions, &values.getattr("number")?, &world))?;
        let entries = PyFrozenSet::new(values.py(), plan.entries.keys())?.unbind();
        Ok(Program {
            entries,
            plan,
            world,
            data,
            memory: Mutex::new(None),
        })
    }

    /// Return the answer to an input as JSON has it, `None` for no answer. Raise `EvaluationFailed`, with the place.
    fn answer<'py>(
        &self,
        py: Python<'py>,
        entry: &str,
        document: &Bound<'py, PyAny>,
    ) -> PyResult<Py<PyAny>> {
        guarded(|| self.asked(py, entry, document.as_ptr()))
    }
}

impl Program {
    fn asked(&self, py: Python<'_>, entry: &str, document: Obj) -> PyResult<Py<PyAny>> {
        let Some(entry) = self.plan.entries.get(entry) else {
            return Err(self.failure(py, "", None));
        };
        let input = if document == self.world.undefined {
            std::ptr::null_mut()
        } else {
            document
        };
        let mut memory = self.lend();
        let mut run = Run::new(
            &self.plan,
            &self.world,
            &mut memory,
            input,
            self.data.as_ptr(),
        );
        // SAFETY: the GIL is held, and the arguments live as long as the call.
        let found = unsafe { run.ask(entry) };
        let place = run
            .failed
            .map_or("", |rule| self.plan.rules[rule as usize].place.as_str());
        drop(run);
        // After a panic, which skips this, the memory is made anew.
        if let Ok(mut place) = self.memory.lock() {
            *place = Some(memory);
        }
        match found {
            Ok(found) => self.first(py, &found),
            Err(_) => Err(self.failure(py, place, PyErr::take(py))),
        }
    }

    fn lend(&self) -> Box<Memory> {
        let kept = self.memory.lock().ok().and_then(|mut kept| kept.take());
        kept.unwrap_or_else(|| Box::new(Memory::new(&self.plan)))
    }

    /// Return the first result.
    fn first(&self, py: Python<'_>, found: &[V]) -> PyResult<Py<PyAny>> {
        let Some(first) = found.first() else {
            return Ok(py.None());
        };
        // SAFETY: the GIL is held, and `first` owns its object.
        let first = unsafe { Bound::from_borrowed_ptr(py, self.world.shown(first.0)) };
        let found = first
            .get_item("result")
            .map_err(|error| self.failure(py, "", Some(error)))?;
        // SAFETY: the GIL is held, and a value that is made is an owned reference.
        unsafe {
            match self.world.to_json(found.as_ptr(), 0) {
                Ok(answer) => {
                    let raw = answer.0;
                    std::mem::forget(answer);
                    Ok(Bound::from_owned_ptr(py, self.world.shown(raw)).unbind())
                }
                Err(_) => Err(self.failure(py, "", PyErr::take(py))),
            }
        }
    }

    /// Return `EvaluationFailed` with the place, because of an error. An interruption goes on as it is.
    fn failure(&self, py: Python<'_>, place: &str, cause: Option<PyErr>) -> PyErr {
        let is_failure = cause
            .as_ref()
            .is_none_or(|error| error.is_instance_of::<PyException>(py));
        let cause = match cause {
            Some(error) if !is_failure => return error,
            other => other,
        };
        // SAFETY: the world owns the type.
        let kind = unsafe { Bound::from_borrowed_ptr(py, self.world.failed) };
        match kind.call1((place,)) {
            Ok(failed) => {
                let failed = PyErr::from_value(failed);
                failed.set_cause(py, cause);
                failed
            }
            Err(error) => error,
        }
    }
}
