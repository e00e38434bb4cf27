//! Turns a panic into an exception of Python, which refuses the call. No message quotes a text.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};

use pyo3::create_exception;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

create_exception!(
    opagate_core,
    CoreFailure,
    PyRuntimeError,
    "A defect of the native core. The call that met it is refused."
);

thread_local! {
    static PLACE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Notes the place of a panic, and drops its message, which may quote a text.
pub fn hide_messages_of_panics() {
    set_hook(Box::new(|panic| {
        if let Some(place) = panic.location() {
            PLACE.set(format!("{}:{}", place.file(), place.line()));
        }
    }));
}

/// Runs the body of a function that Python calls. Each such function has its body in here.
pub fn guarded<T>(body: impl FnOnce() -> PyResult<T>) -> PyResult<T> {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|_| {
        let place = PLACE.take();
        Err(CoreFailure::new_err(format!(
            "the native core failed at {place}; set `core: python`, and report this"
        )))
    })
}

/// Fails, so that the gateway can prove at its start that a failure arrives as an exception.
#[pyfunction]
pub fn fail() -> PyResult<()> {
    guarded(|| {
        let empty: [u8; 0] = [];
        let index = std::hint::black_box(0);
        Err(PyRuntimeError::new_err(empty[index].to_string()))
    })
}
