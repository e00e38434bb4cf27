//! A decoded plan of OPA, read into the form that `run` evaluates. Anything unknown is an error, and the plan is not used.

use std::collections::{HashMap, HashSet};

use pyo3::exceptions::PyValueError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyString};

use super::functions::Function as Builtin;
use super::shorten::{Paths, Shortener};
use super::value::{Kind, Obj, World};

/// An operand: a local of the frame, or a constant.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Arg {
    Local(u16),
    Constant(Obj),
}

pub type Block = Vec<Step>;

pub enum Step {
    Append {
        list: u16,
        value: Arg,
    },
    Assign {
        target: u16,
        source: Arg,
    },
    AssignOnce {
        target: u16,
        source: Arg,
    },
    Blocks(Vec<Block>),
    Leave(u32),
    CallPath {
        path: Vec<Arg>,
        arguments: Vec<Arg>,
        result: u16,
    },
    CallRule {
        rule: u32,
        arguments: Vec<Arg>,
        result: u16,
    },
    CallBuiltin {
        builtin: Builtin,
        python: Obj,
        may_lack: bool,
        arguments: Vec<Arg>,
        result: u16,
    },
    Dot {
        source: Arg,
        key: Arg,
        target: u16,
    },
    /// The value at a path below the input or the data, which `root` has.
    Path {
        root: u16,
        path: u32,
        target: u16,
    },
    /// A call of a rule or a function that leaves the block unless it is true, or another value.
    TestRule {
        rule: u32,
        arguments: Vec<Arg>,
    },
    TestBuiltin {
        builtin: Builtin,
        python: Obj,
        arguments: Vec<Arg>,
    },
    Equal {
        a: Arg,
        b: Arg,
    },
    NotEqual {
        a: Arg,
        b: Arg,
    },
    Is {
        source: Arg,
        kind: Kind,
    },
    Defined(Arg),
    Undefined(Arg),
    Length {
        source: Arg,
        target: u16,
    },
    MakeList {
        target: u16,
    },
    MakeDict {
        target: u16,
    },
    MakeSet {
        target: u16,
    },
    Union {
        sets: Vec<Arg>,
        result: u16,
    },
    Insert {
        object: u16,
        key: Arg,
        value: Arg,
    },
    InsertOnce {
        object: u16,
        key: Arg,
        value: Arg,
    },
    Merge {
        a: Arg,
        b: Arg,
        target: u16,
        may_share: bool,
    },
    Reset(u16),
    Result(Arg),
    Return(Arg),
    Scan {
        source: Arg,
        key: u16,
        value: u16,
        block: Block,
    },
    Add {
        set: u16,
        value: Arg,
    },
    Not(Block),
    With {
        local: u16,
        path: Obj,
        is_whole: bool,
        value: Arg,
        block: Block,
    },
}

pub struct Rule {
    pub params: Vec<u16>,
    pub locals: usize,
    /// Whether an evaluation keeps the value: a rule without parameters of its own.
    pub is_kept: bool,
    pub blocks: Vec<Block>,
    pub place: String,
    /// Whether no value grows but the collections that the function made.
    pub may_share: bool,
}

pub struct Plan {
    pub rules: Vec<Rule>,
    pub entries: HashMap<String, Rule>,
    /// The rules by the text of their path, for calls whose path is known when they are made.
    pub by_path: HashMap<Vec<String>, u32>,
    pub paths: Paths,
    /// Owns the constants that operands point to.
    _constants: Vec<Py<PyAny>>,
}

fn unknown(what: &str) -> PyErr {
    PyValueError::new_err(format!(
        "the plan has {what} that the native evaluator does not know"
    ))
}

/// What all functions of a plan share while it is read.
pub struct Reader<'a, 'py> {
    py: Python<'py>,
    strings: Vec<Bound<'py, PyString>>,
    files: Vec<String>,
    names: HashMap<String, u32>,
    functions: &'a Bound<'py, PyAny>,
    make_number: &'a Bound<'py, PyAny>,
    paths: Paths,
    constants: Vec<Py<PyAny>>,
}

type Fields<'py> = Bound<'py, PyDict>;

fn field<'py>(fields: &Fields<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    fields
        .get_item(name)?
        .ok_or_else(|| unknown("a statement without a field"))
}

fn dictionary<'py>(found: &Bound<'py, PyAny>) -> PyResult<Fields<'py>> {
    Ok(found.cast::<PyDict>().map_err(PyErr::from)?.clone())
}

/// Return the items of a list, nothing for null.
fn list<'py>(found: &Bound<'py, PyAny>) -> PyResult<Vec<Bound<'py, PyAny>>> {
    if found.is_none() {
        return Ok(Vec::new());
    }
    Ok(found
        .cast::<PyList>()
        .map_err(PyErr::from)?
        .iter()
        .collect())
}

fn whole(found: &Bound<'_, PyAny>) -> PyResult<i64> {
    if found.is_instance_of::<PyBool>() || found.is_instance_of::<PyFloat>() {
        return Err(unknown("a number"));
    }
    found.extract()
}

/// Read a decoded plan. `functions` are the built-in functions by name, and `make_number` reads a number that is no integer.
pub fn read<'py>(
    plan: &Bound<'py, PyAny>,
    functions: &Bound<'py, PyAny>,
    make_number: &Bound<'py, PyAny>,
    world: &World,
) -> PyResult<Plan> {
    let plan = dictionary(plan)?;
    let fixed = dictionary(&field(&plan, "static")?)?;
    let texts = |name: &str| -> PyResult<Vec<Bound<'py, PyString>>> {
        let Some(found) = fixed.get_item(name)? else {
            return Ok(Vec::new());
        };
        list(&found)?
            .iter()
            .map(|item| {
                Ok(field(&dictionary(item)?, "value")?
                    .cast::<PyString>()
                    .map_err(PyErr::from)?
                    .clone())
            })
            .collect()
    };
    let strings = texts("strings")?;
    let files = texts("files")?
        .iter()
        .map(|file| Ok(file.to_str()?.to_owned()))
        .collect::<PyResult<_>>()?;
    let written = match plan.get_item("funcs")? {
        Some(found) => match dictionary(&found)?.get_item("funcs")? {
            Some(found) => list(&found)?,
            None => Vec::new(),
        },
        None => Vec::new(),
    };
    let mut names = HashMap::new();
    for (number, found) in written.iter().enumerate() {
        let name: String = field(&dictionary(found)?, "name")?.extract()?;
        if names.insert(name, u32::try_from(number)?).is_some() {
            return Err(unknown("two functions of one name"));
        }
    }
    let py = plan.py();
    let mut reader = Reader {
        py,
        strings,
        files,
        names,
        functions,
        make_number,
        paths: Paths::default(),
        constants: Vec::new(),
    };
    reader.intern();
    let mut rules = Vec::new();
    let mut by_path = HashMap::new();
    for (number, found) in written.iter().enumerate() {
        let form = dictionary(found)?;
        if let Some(path) = form.get_item("path")? {
            let path: Vec<String> = list(&path)?
                .iter()
                .map(|part| part.extract())
                .collect::<PyResult<_>>()?;
            if !path.is_empty() {
                by_path.insert(path, u32::try_from(number)?);
            }
        }
        let params = list(&field(&form, "params")?)?
            .iter()
            .map(whole)
            .collect::<PyResult<Vec<_>>>()?;
        py.detach(std::thread::yield_now);
        rules.push(reader.rule(&list(&field(&form, "blocks")?)?, &params, true)?);
    }
    let mut entries = HashMap::new();
    for found in list(&field(&dictionary(&field(&plan, "plans")?)?, "plans")?)? {
        let form = dictionary(&found)?;
        let rule = reader.rule(&list(&field(&form, "blocks")?)?, &[0, 1], false)?;
        entries.insert(field(&form, "name")?.extract()?, rule);
    }
    for rule in rules.iter().chain(entries.values()) {
        for block in &rule.blocks {
            if leaves(block)?.iter().any(|level| *level != 0) {
                return Err(unknown("a way out of a function"));
            }
            require_arguments(block, &rules)?;
        }
    }
    let Reader {
        mut paths,
        mut constants,
        ..
    } = reader;
    let mut shortener = Shortener {
        py,
        world,
        paths: &mut paths,
        constants: &mut constants,
    };
    for rule in rules.iter_mut().chain(entries.values_mut()) {
        shortener.shorten(rule)?;
        // Calls go on between: the thread that reads a plan holds the GIL.
        py.detach(std::thread::yield_now);
    }
    Ok(Plan {
        rules,
        entries,
        by_path,
        paths,
        _constants: constants,
    })
}

/// Return the frames that a block leaves early: 0 is the block itself, 1 the frame around it.
fn leaves(block: &Block) -> PyResult<HashSet<u32>> {
    let mut found = HashSet::new();
    for step in block {
        match step {
            Step::Leave(level) => {
                found.insert(*level);
            }
            Step::CallPath { .. } => {
                found.insert(3);
            }
            Step::Blocks(blocks) => {
                for inner in blocks {
                    found.extend(
                        leaves(inner)?
                            .iter()
                            .filter(|level| **level > 0)
                            .map(|level| level - 1),
                    );
                }
            }
            Step::Scan { block, .. } | Step::Not(block) | Step::With { block, .. }
                if leaves(block)?.iter().any(|level| *level > 0) =>
            {
                return Err(unknown("a way out of a loop"));
            }
            _ => {}
        }
    }
    Ok(found)
}

const MADE: u8 = 1;
const OTHERWISE: u8 = 2;

/// Return whether each growing local was made as a collection. `origins` has the ways in which each local got its value.
fn grows_what_it_made(block: &Block, origins: &mut HashMap<u16, u8>) -> bool {
    let mut is_known = true;
    for step in block {
        if let Some(grown) = step.grown() {
            is_known &= origins.get(&grown) == Some(&MADE);
        }
        for inner in step.inner() {
            // Twice: the body of a scan may find what it left the time before.
            for _ in 0..2 {
                let mut within = origins.clone();
                for local in step.rebound() {
                    within.insert(local, OTHERWISE);
                }
                is_known &= grows_what_it_made(inner, &mut within);
                for (local, ways) in within {
                    *origins.entry(local).or_default() |= ways;
                }
            }
        }
        if let Some((local, way)) = step.written() {
            origins.insert(local, way);
        }
    }
    is_known
}

impl Step {
    /// Return the local of a collection to which a step adds.
    pub fn grown(&self) -> Option<u16> {
        match self {
            Step::Append { list, .. } => Some(*list),
            Step::Insert { object, .. } | Step::InsertOnce { object, .. } => Some(*object),
            Step::Add { set, .. } => Some(*set),
            _ => None,
        }
    }

    pub fn inner(&self) -> &[Block] {
        match self {
            Step::Blocks(blocks) => blocks,
            Step::Scan { block, .. } | Step::Not(block) | Step::With { block, .. } => {
                std::slice::from_ref(block)
            }
            _ => &[],
        }
    }

    pub fn inner_mut(&mut self) -> &mut [Block] {
        match self {
            Step::Blocks(blocks) => blocks,
            Step::Scan { block, .. } | Step::Not(block) | Step::With { block, .. } => {
                std::slice::from_mut(block)
            }
            _ => &mut [],
        }
    }

    /// Return the operands of a step itself.
    pub fn args_mut(&mut self) -> Vec<&mut Arg> {
        match self {
            Step::Append { value, .. } | Step::Add { value, .. } | Step::With { value, .. } => {
                vec![value]
            }
            Step::Assign { source, .. }
            | Step::AssignOnce { source, .. }
            | Step::Is { source, .. }
            | Step::Defined(source)
            | Step::Undefined(source)
            | Step::Length { source, .. }
            | Step::Result(source)
            | Step::Return(source)
            | Step::Scan { source, .. } => vec![source],
            Step::Dot {
                source: a, key: b, ..
            }
            | Step::Equal { a, b }
            | Step::NotEqual { a, b }
            | Step::Insert {
                key: a, value: b, ..
            }
            | Step::InsertOnce {
                key: a, value: b, ..
            }
            | Step::Merge { a, b, .. } => vec![a, b],
            Step::CallPath {
                path, arguments, ..
            } => path.iter_mut().chain(arguments).collect(),
            Step::CallRule { arguments, .. }
            | Step::CallBuiltin { arguments, .. }
            | Step::TestRule { arguments, .. }
            | Step::TestBuiltin { arguments, .. }
            | Step::Union {
                sets: arguments, ..
            } => arguments.iter_mut().collect(),
            Step::Blocks(_)
            | Step::Leave(_)
            | Step::MakeList { .. }
            | Step::MakeDict { .. }
            | Step::MakeSet { .. }
            | Step::Path { .. }
            | Step::Reset(_)
            | Step::Not(_) => Vec::new(),
        }
    }

    fn args(&self) -> Vec<Arg> {
        match self {
            Step::Append { value, .. } | Step::Add { value, .. } | Step::With { value, .. } => {
                vec![*value]
            }
            Step::Assign { source, .. }
            | Step::AssignOnce { source, .. }
            | Step::Is { source, .. }
            | Step::Defined(source)
            | Step::Undefined(source)
            | Step::Length { source, .. }
            | Step::Result(source)
            | Step::Return(source)
            | Step::Scan { source, .. } => vec![*source],
            Step::Dot {
                source: a, key: b, ..
            }
            | Step::Equal { a, b }
            | Step::NotEqual { a, b }
            | Step::Insert {
                key: a, value: b, ..
            }
            | Step::InsertOnce {
                key: a, value: b, ..
            }
            | Step::Merge { a, b, .. } => vec![*a, *b],
            Step::CallPath {
                path, arguments, ..
            } => path.iter().chain(arguments).copied().collect(),
            Step::CallRule { arguments, .. }
            | Step::CallBuiltin { arguments, .. }
            | Step::TestRule { arguments, .. }
            | Step::TestBuiltin { arguments, .. }
            | Step::Union {
                sets: arguments, ..
            } => arguments.clone(),
            Step::Blocks(_)
            | Step::Leave(_)
            | Step::MakeList { .. }
            | Step::MakeDict { .. }
            | Step::MakeSet { .. }
            | Step::Path { .. }
            | Step::Reset(_)
            | Step::Not(_) => Vec::new(),
        }
    }

    /// Return the locals that a step itself reads.
    pub fn reads(&self) -> Vec<u16> {
        let mut found: Vec<u16> = self
            .args()
            .into_iter()
            .filter_map(|arg| match arg {
                Arg::Local(local) => Some(local),
                Arg::Constant(_) => None,
            })
            .collect();
        match self {
            Step::AssignOnce { target: local, .. }
            | Step::With { local, .. }
            | Step::Path { root: local, .. } => {
                found.push(*local);
            }
            _ => found.extend(self.grown()),
        }
        found
    }

    /// Return the locals that a step names, but for its operands.
    pub fn locals_mut(&mut self) -> Vec<&mut u16> {
        match self {
            Step::Append { list: local, .. }
            | Step::Insert { object: local, .. }
            | Step::InsertOnce { object: local, .. }
            | Step::Add { set: local, .. }
            | Step::Assign { target: local, .. }
            | Step::AssignOnce { target: local, .. }
            | Step::CallPath { result: local, .. }
            | Step::CallRule { result: local, .. }
            | Step::CallBuiltin { result: local, .. }
            | Step::Dot { target: local, .. }
            | Step::Length { target: local, .. }
            | Step::MakeList { target: local }
            | Step::MakeDict { target: local }
            | Step::MakeSet { target: local }
            | Step::Union { result: local, .. }
            | Step::Merge { target: local, .. }
            | Step::Reset(local)
            | Step::With { local, .. } => vec![local],
            Step::Path { root, target, .. } => vec![root, target],
            Step::Scan { key, value, .. } => vec![key, value],
            Step::Blocks(_)
            | Step::Leave(_)
            | Step::TestRule { .. }
            | Step::TestBuiltin { .. }
            | Step::Equal { .. }
            | Step::NotEqual { .. }
            | Step::Is { .. }
            | Step::Defined(_)
            | Step::Undefined(_)
            | Step::Result(_)
            | Step::Return(_)
            | Step::Not(_) => Vec::new(),
        }
    }

    /// Return the locals to which a step gives values for its block.
    pub fn rebound(&self) -> Vec<u16> {
        match self {
            Step::Scan { key, value, .. } => vec![*key, *value],
            Step::With { local, .. } => vec![*local],
            _ => Vec::new(),
        }
    }

    /// Return the local to which a step gives a value, and the way.
    pub fn written(&self) -> Option<(u16, u8)> {
        match self {
            Step::MakeList { target } | Step::MakeDict { target } | Step::MakeSet { target } => {
                Some((*target, MADE))
            }
            Step::Assign { target, .. }
            | Step::AssignOnce { target, .. }
            | Step::Dot { target, .. }
            | Step::Length { target, .. }
            | Step::Merge { target, .. }
            | Step::Path { target, .. }
            | Step::Reset(target) => Some((*target, OTHERWISE)),
            Step::CallPath { result, .. }
            | Step::CallRule { result, .. }
            | Step::CallBuiltin { result, .. }
            | Step::Union { result, .. } => Some((*result, OTHERWISE)),
            _ => None,
        }
    }
}

/// Refuse calls of rules with another number of arguments than they take.
fn require_arguments(block: &Block, rules: &[Rule]) -> PyResult<()> {
    for step in block {
        match step {
            Step::CallRule {
                rule, arguments, ..
            }
            | Step::TestRule { rule, arguments }
                if rules[*rule as usize].params.len() != arguments.len() =>
            {
                return Err(unknown("a call with another number of arguments"));
            }
            Step::Blocks(blocks) => {
                for inner in blocks {
                    require_arguments(inner, rules)?;
                }
            }
            Step::Scan { block, .. } | Step::Not(block) | Step::With { block, .. } => {
                require_arguments(block, rules)?
            }
            _ => {}
        }
    }
    Ok(())
}

/// The locals of one function while it is read.
#[derive(Default)]
struct Locals {
    numbers: HashMap<i64, u16>,
}

impl Locals {
    fn number(&mut self, local: i64) -> PyResult<u16> {
        let next = u16::try_from(self.numbers.len())?;
        Ok(*self.numbers.entry(local).or_insert(next))
    }
}

impl<'py> Reader<'_, 'py> {
    /// Make strings of the plan the ones that the rest of the program has, so that most comparisons end at once.
    fn intern(&mut self) {
        for string in &mut self.strings {
            let mut raw = string.clone().into_ptr();
            // SAFETY: `raw` is an owned reference to a string, and stays one.
            *string = unsafe {
                ffi::PyUnicode_InternInPlace(&mut raw);
                Bound::from_owned_ptr(self.py, raw).cast_into_unchecked()
            };
        }
    }

    fn keep(&mut self, found: Bound<'py, PyAny>) -> Obj {
        let raw = found.as_ptr();
        self.constants.push(found.unbind());
        raw
    }

    fn rule(
        &mut self,
        blocks: &[Bound<'py, PyAny>],
        params: &[i64],
        may_keep: bool,
    ) -> PyResult<Rule> {
        let mut locals = Locals::default();
        if params.is_empty() {
            return Err(unknown("a function without an input"));
        }
        let params: Vec<u16> = params
            .iter()
            .map(|local| locals.number(*local))
            .collect::<PyResult<_>>()?;
        if params.iter().collect::<HashSet<_>>().len() != params.len() {
            return Err(unknown("a function with two parameters of one number"));
        }
        let place = self.place(blocks)?;
        let blocks = blocks
            .iter()
            .map(|block| self.block(block, &mut locals))
            .collect::<PyResult<Vec<_>>>()?;
        let mut origins = HashMap::new();
        // Else a value that another local has too would change with a collection.
        let may_share = blocks
            .iter()
            .all(|block| grows_what_it_made(block, &mut origins));
        let is_kept = may_keep && params.len() == 2;
        for block in &blocks {
            self.paths.note_names(block, params[0]);
        }
        Ok(Rule {
            params,
            locals: locals.numbers.len(),
            is_kept,
            blocks,
            place,
            may_share,
        })
    }

    /// Return the file and line of the first statement of a function.
    fn place(&self, blocks: &[Bound<'py, PyAny>]) -> PyResult<String> {
        for block in blocks {
            for statement in list(&field(&dictionary(block)?, "stmts")?)? {
                let fields = dictionary(&field(&dictionary(&statement)?, "stmt")?)?;
                let Some(row) = fields.get_item("row")? else {
                    continue;
                };
                let row = whole(&row)?;
                if row != 0 {
                    let file = usize::try_from(whole(&field(&fields, "file")?)?)?;
                    let file = self.files.get(file).ok_or_else(|| unknown("a file"))?;
                    return Ok(format!("{file}:{row}"));
                }
            }
        }
        Ok(String::new())
    }

    fn block(&mut self, block: &Bound<'py, PyAny>, locals: &mut Locals) -> PyResult<Block> {
        let mut steps = Vec::new();
        for statement in list(&field(&dictionary(block)?, "stmts")?)? {
            let statement = dictionary(&statement)?;
            let kind: String = field(&statement, "type")?.extract()?;
            let fields = dictionary(&field(&statement, "stmt")?)?;
            if let Some(step) = self.step(&kind, &fields, locals)? {
                steps.push(step);
            }
        }
        Ok(steps)
    }

    fn arg(&mut self, fields: &Fields<'py>, name: &str, locals: &mut Locals) -> PyResult<Arg> {
        self.operand(&field(fields, name)?, locals)
    }

    fn operand(&mut self, operand: &Bound<'py, PyAny>, locals: &mut Locals) -> PyResult<Arg> {
        let operand = dictionary(operand)?;
        let kind: String = field(&operand, "type")?.extract()?;
        let value = field(&operand, "value")?;
        match kind.as_str() {
            "local" => Ok(Arg::Local(locals.number(whole(&value)?)?)),
            "bool" => {
                let found: bool = value.extract()?;
                Ok(Arg::Constant(
                    self.keep(PyBool::new(self.py, found).to_owned().into_any()),
                ))
            }
            "string_index" => {
                let found = self.string(whole(&value)?)?;
                Ok(Arg::Constant(self.keep(found.into_any())))
            }
            _ => Err(unknown("an operand")),
        }
    }

    fn operands(
        &mut self,
        fields: &Fields<'py>,
        name: &str,
        locals: &mut Locals,
    ) -> PyResult<Vec<Arg>> {
        list(&field(fields, name)?)?
            .iter()
            .map(|operand| self.operand(operand, locals))
            .collect()
    }

    fn string(&self, index: i64) -> PyResult<Bound<'py, PyString>> {
        self.strings
            .get(usize::try_from(index)?)
            .cloned()
            .ok_or_else(|| unknown("a string"))
    }

    fn local(&self, fields: &Fields<'py>, name: &str, locals: &mut Locals) -> PyResult<u16> {
        locals.number(whole(&field(fields, name)?)?)
    }

    fn local_arg(&self, fields: &Fields<'py>, name: &str, locals: &mut Locals) -> PyResult<Arg> {
        Ok(Arg::Local(self.local(fields, name, locals)?))
    }

    fn constant(
        &mut self,
        found: Bound<'py, PyAny>,
        fields: &Fields<'py>,
        locals: &mut Locals,
    ) -> PyResult<Step> {
        let target = self.local(fields, "target", locals)?;
        Ok(Step::Assign {
            target,
            source: Arg::Constant(self.keep(found)),
        })
    }

    fn number(&self, fields: &Fields<'py>) -> PyResult<Bound<'py, PyAny>> {
        let index = match fields.get_item("Index")? {
            Some(found) => found,
            None => field(fields, "index")?,
        };
        let text = self.string(whole(&index)?)?;
        let written = text.to_str()?;
        let digits = written.strip_prefix('-').unwrap_or(written);
        if !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit()) {
            return self.py.get_type::<PyInt>().call1((text,));
        }
        self.make_number.call1((text,))
    }

    fn inner(&mut self, fields: &Fields<'py>, locals: &mut Locals) -> PyResult<Block> {
        self.block(&field(fields, "block")?, locals)
    }

    fn step(
        &mut self,
        kind: &str,
        fields: &Fields<'py>,
        locals: &mut Locals,
    ) -> PyResult<Option<Step>> {
        Ok(Some(match kind {
            "ArrayAppendStmt" => Step::Append {
                value: self.arg(fields, "value", locals)?,
                list: self.local(fields, "array", locals)?,
            },
            "AssignIntStmt" | "MakeNumberIntStmt" => {
                let found = whole(&field(fields, "value")?)?;
                self.constant(found.into_pyobject(self.py)?.into_any(), fields, locals)?
            }
            "AssignVarOnceStmt" => Step::AssignOnce {
                source: self.arg(fields, "source", locals)?,
                target: self.local(fields, "target", locals)?,
            },
            "AssignVarStmt" => Step::Assign {
                source: self.arg(fields, "source", locals)?,
                target: self.local(fields, "target", locals)?,
            },
            "BlockStmt" => {
                let blocks = list(&field(fields, "blocks")?)?;
                Step::Blocks(
                    blocks
                        .iter()
                        .map(|block| self.block(block, locals))
                        .collect::<PyResult<_>>()?,
                )
            }
            "BreakStmt" => Step::Leave(u32::try_from(whole(&field(fields, "index")?)?)?),
            "CallDynamicStmt" => self.call_by_path(fields, locals)?,
            "CallStmt" => self.call(fields, locals)?,
            "DotStmt" => Step::Dot {
                source: self.arg(fields, "source", locals)?,
                key: self.arg(fields, "key", locals)?,
                target: self.local(fields, "target", locals)?,
            },
            "EqualStmt" => Step::Equal {
                a: self.arg(fields, "a", locals)?,
                b: self.arg(fields, "b", locals)?,
            },
            "NotEqualStmt" => Step::NotEqual {
                a: self.arg(fields, "a", locals)?,
                b: self.arg(fields, "b", locals)?,
            },
            "IsArrayStmt" => Step::Is {
                source: self.arg(fields, "source", locals)?,
                kind: Kind::List,
            },
            "IsObjectStmt" => Step::Is {
                source: self.arg(fields, "source", locals)?,
                kind: Kind::Dict,
            },
            "IsSetStmt" => Step::Is {
                source: self.arg(fields, "source", locals)?,
                kind: Kind::Set,
            },
            "IsDefinedStmt" => Step::Defined(self.local_arg(fields, "source", locals)?),
            "IsUndefinedStmt" => Step::Undefined(self.local_arg(fields, "source", locals)?),
            "LenStmt" => Step::Length {
                source: self.arg(fields, "source", locals)?,
                target: self.local(fields, "target", locals)?,
            },
            "MakeArrayStmt" => Step::MakeList {
                target: self.local(fields, "target", locals)?,
            },
            "MakeObjectStmt" => Step::MakeDict {
                target: self.local(fields, "target", locals)?,
            },
            "MakeSetStmt" => Step::MakeSet {
                target: self.local(fields, "target", locals)?,
            },
            "MakeNullStmt" => self.constant(self.py.None().into_bound(self.py), fields, locals)?,
            "MakeNumberRefStmt" => self.constant(self.number(fields)?, fields, locals)?,
            "NopStmt" => return Ok(None),
            "NotStmt" => Step::Not(self.inner(fields, locals)?),
            "ObjectInsertOnceStmt" => Step::InsertOnce {
                key: self.arg(fields, "key", locals)?,
                value: self.arg(fields, "value", locals)?,
                object: self.local(fields, "object", locals)?,
            },
            "ObjectInsertStmt" => Step::Insert {
                key: self.arg(fields, "key", locals)?,
                value: self.arg(fields, "value", locals)?,
                object: self.local(fields, "object", locals)?,
            },
            "ObjectMergeStmt" => Step::Merge {
                a: self.local_arg(fields, "a", locals)?,
                b: self.local_arg(fields, "b", locals)?,
                may_share: false,
                target: self.local(fields, "target", locals)?,
            },
            "ResetLocalStmt" => Step::Reset(self.local(fields, "target", locals)?),
            "ResultSetAddStmt" => Step::Result(self.local_arg(fields, "value", locals)?),
            "ReturnLocalStmt" => Step::Return(self.local_arg(fields, "source", locals)?),
            "ScanStmt" => Step::Scan {
                source: self.local_arg(fields, "source", locals)?,
                key: self.local(fields, "key", locals)?,
                value: self.local(fields, "value", locals)?,
                block: self.inner(fields, locals)?,
            },
            "SetAddStmt" => Step::Add {
                value: self.arg(fields, "value", locals)?,
                set: self.local(fields, "set", locals)?,
            },
            "WithStmt" => self.with(fields, locals)?,
            _ => return Err(unknown("a statement")),
        }))
    }

    fn with(&mut self, fields: &Fields<'py>, locals: &mut Locals) -> PyResult<Step> {
        let path = list(&field(fields, "path")?)?
            .iter()
            .map(|index| self.string(whole(index)?))
            .collect::<PyResult<Vec<_>>>()?;
        let is_whole = path.is_empty();
        let path = PyList::new(self.py, path)?;
        Ok(Step::With {
            local: self.local(fields, "local", locals)?,
            path: self.keep(path.into_any()),
            is_whole,
            value: self.arg(fields, "value", locals)?,
            block: self.inner(fields, locals)?,
        })
    }

    fn call_by_path(&mut self, fields: &Fields<'py>, locals: &mut Locals) -> PyResult<Step> {
        let mut arguments = Vec::new();
        for local in list(&field(fields, "args")?)? {
            arguments.push(Arg::Local(locals.number(whole(&local)?)?));
        }
        Ok(Step::CallPath {
            path: self.operands(fields, "path", locals)?,
            arguments,
            result: self.local(fields, "result", locals)?,
        })
    }

    fn call(&mut self, fields: &Fields<'py>, locals: &mut Locals) -> PyResult<Step> {
        let name: String = field(fields, "func")?.extract()?;
        let arguments = self.operands(fields, "args", locals)?;
        let result = self.local(fields, "result", locals)?;
        if let Some(rule) = self.names.get(&name) {
            return Ok(Step::CallRule {
                rule: *rule,
                arguments,
                result,
            });
        }
        let python = self
            .functions
            .get_item(&name)
            .map_err(|_| unknown("a built-in function"))?;
        let python = self.keep(python);
        let may_lack = matches!(name.as_str(), "max" | "min");
        Ok(Step::CallBuiltin {
            builtin: Builtin::named(&name, arguments.len()),
            python,
            may_lack,
            arguments,
            result,
        })
    }
}
