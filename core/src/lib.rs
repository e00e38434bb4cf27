//! The native core of opagate, an option. The Python of `gateway/` is its specification: each function here returns the
//! same bytes as a function there, and `tests/unit/native/` compares the two.
#![forbid(unsafe_code)]

mod guard;
mod words;

use pyo3::prelude::*;

/// The version of the interface. It grows with each change of a function that Python calls, and of its results.
const INTERFACE: u32 = 6;

#[pymodule]
fn opagate_core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    guard::hide_messages_of_panics();
    module.add("INTERFACE", INTERFACE)?;
    module.add("CoreFailure", module.py().get_type::<guard::CoreFailure>())?;
    module.add_function(wrap_pyfunction!(guard::fail, module)?)?;
    module.add_class::<words::Words>()?;
    Ok(())
}
