//! The evaluation of one question. Each step does what the written Python does for its statement (`blocks.py`).

use pyo3::ffi;

use super::functions::Function as Builtin;
use super::read::{Arg, Block, Plan, Rule, Step};
use super::value::{Fail, Kind, Obj, Res, V, World, done};

/// Locals of all functions that are being evaluated.
const MOST_LOCALS: usize = 1 << 16;
/// Blocks and functions within each other.
const MOST_DEEP: u32 = 3000;

/// The way in which a block ended.
enum Flow {
    Next,
    Leave(u32),
    Return,
}

/// Memory for evaluations, one at a time.
pub struct Memory {
    /// Zeros, which are no values. The system gives the pages when they are used.
    locals: Vec<Obj>,
    kept: Kept,
    /// The values at paths. Those below the data stay, and those below the input are for one evaluation.
    paths: Vec<V>,
    seen: Vec<u32>,
}

/// The values of rules for one input. Null is no value yet, and the object for undefined is no value at all.
struct Kept {
    values: Vec<V>,
    filled: Vec<u32>,
}

impl Kept {
    fn new(rules: usize) -> Kept {
        Kept {
            values: (0..rules).map(|_| V::NONE).collect(),
            filled: Vec::new(),
        }
    }

    fn clear(&mut self) {
        for rule in self.filled.drain(..) {
            self.values[rule as usize] = V::NONE;
        }
    }
}

impl Memory {
    pub fn new(plan: &Plan) -> Memory {
        Memory {
            locals: vec![std::ptr::null_mut(); MOST_LOCALS],
            kept: Kept::new(plan.rules.len()),
            paths: plan.paths.parts.iter().map(|_| V::NONE).collect(),
            seen: Vec::new(),
        }
    }
}

pub struct Run<'a> {
    plan: &'a Plan,
    world: &'a World,
    memory: &'a mut Memory,
    input: Obj,
    data: Obj,
    used: usize,
    depth: u32,
    returned: V,
    results: Vec<V>,
    /// The innermost function that failed.
    pub failed: Option<u32>,
}

impl<'a> Run<'a> {
    pub fn new(
        plan: &'a Plan,
        world: &'a World,
        memory: &'a mut Memory,
        input: Obj,
        data: Obj,
    ) -> Run<'a> {
        Run {
            plan,
            world,
            memory,
            input,
            data,
            used: 0,
            depth: 0,
            returned: V::NONE,
            results: Vec::new(),
            failed: None,
        }
    }

    /// Return the results of an entry for an input.
    pub unsafe fn ask(&mut self, entry: &Rule) -> Res<Vec<V>> {
        let ended = self.enter(entry, &[self.input, self.data]);
        self.memory.kept.clear();
        while let Some(path) = self.memory.seen.pop() {
            self.memory.paths[path as usize] = V::NONE;
        }
        ended?;
        Ok(std::mem::take(&mut self.results))
    }

    /// Evaluate a function. Return whether it returned a value, which is then in `returned`.
    unsafe fn enter(&mut self, rule: &Rule, arguments: &[Obj]) -> Res<bool> {
        let begin = self.used;
        if begin + rule.locals > MOST_LOCALS {
            return Err(deep());
        }
        self.deeper()?;
        self.used += rule.locals;
        let frame = self.memory.locals.as_mut_ptr().add(begin).cast::<V>();
        for (param, argument) in rule.params.iter().zip(arguments) {
            *frame.add(*param as usize) = V::share(*argument);
        }
        let ended = self.blocks(&rule.blocks, frame);
        for place in 0..rule.locals {
            *frame.add(place) = V::NONE;
        }
        self.used = begin;
        self.depth -= 1;
        Ok(matches!(ended?, Flow::Return))
    }

    fn deeper(&mut self) -> Res<()> {
        self.depth += 1;
        if self.depth > MOST_DEEP {
            return Err(deep());
        }
        Ok(())
    }

    unsafe fn rule(&mut self, number: u32, arguments: &[Arg], frame: *mut V) -> Res<V> {
        let plan = self.plan;
        let rule = &plan.rules[number as usize];
        if rule.is_kept {
            let kept = self.memory.kept.values[number as usize].0;
            if !kept.is_null() {
                return Ok(self.world.held_item(kept));
            }
        }
        let mut given = [std::ptr::null_mut(); 8];
        let returned = if arguments.len() <= given.len() {
            for (place, argument) in arguments.iter().enumerate() {
                given[place] = get(frame, argument);
            }
            self.enter(rule, &given[..arguments.len()])
        } else {
            let given: Vec<Obj> = arguments
                .iter()
                .map(|argument| get(frame, argument))
                .collect();
            self.enter(rule, &given)
        };
        let value = match returned {
            Ok(true) => std::mem::replace(&mut self.returned, V::NONE),
            Ok(false) => V::NONE,
            Err(failed) => {
                self.failed.get_or_insert(number);
                return Err(failed);
            }
        };
        if rule.is_kept {
            let kept = &mut self.memory.kept;
            kept.values[number as usize] = V::share(self.world.shown(value.0));
            kept.filled.push(number);
        }
        Ok(value)
    }

    /// Evaluate blocks in turn. A block that leaves itself alone is over.
    unsafe fn blocks(&mut self, blocks: &[Block], frame: *mut V) -> Res<Flow> {
        for block in blocks {
            match self.block(block, frame)? {
                Flow::Next | Flow::Leave(0) => {}
                Flow::Leave(level) => return Ok(Flow::Leave(level - 1)),
                Flow::Return => return Ok(Flow::Return),
            }
        }
        Ok(Flow::Next)
    }

    unsafe fn block(&mut self, block: &Block, frame: *mut V) -> Res<Flow> {
        const LEFT: Res<Flow> = Ok(Flow::Leave(0));
        let world = self.world;
        for step in block {
            match step {
                Step::Assign { target, source } => {
                    set(frame, *target, V::share(get(frame, source)))
                }
                Step::AssignOnce { target, source } => {
                    self.assign_once(*target, get(frame, source), frame)?
                }
                Step::Dot {
                    source,
                    key,
                    target,
                } => {
                    let found = world.dot(get(frame, source), get(frame, key))?;
                    if found.is_none() {
                        return LEFT;
                    }
                    set(frame, *target, found);
                }
                Step::Path { root, path, target } => {
                    let found = self.at_path(get_local(frame, *root), *path)?;
                    if found.is_null() {
                        return LEFT;
                    }
                    set(frame, *target, V::share(found));
                }
                Step::TestBuiltin {
                    builtin,
                    python,
                    arguments,
                } => {
                    let found = self.builtin(*builtin, *python, arguments, frame)?;
                    if found.0 == ffi::Py_False() {
                        return LEFT;
                    }
                }
                Step::TestRule { rule, arguments } => {
                    let found = self.rule(*rule, arguments, frame)?;
                    if found.is_none() || found.0 == ffi::Py_False() {
                        return LEFT;
                    }
                }
                Step::CallRule {
                    rule,
                    arguments,
                    result,
                } => {
                    let found = self.rule(*rule, arguments, frame)?;
                    if found.is_none() {
                        return LEFT;
                    }
                    set(frame, *result, found);
                }
                Step::CallBuiltin {
                    builtin,
                    python,
                    may_lack,
                    arguments,
                    result,
                } => {
                    let found = self.builtin(*builtin, *python, arguments, frame)?;
                    if *may_lack && found.is_none() {
                        return LEFT;
                    }
                    set(frame, *result, found);
                }
                Step::NotEqual { a, b } => {
                    if world.equal(get(frame, a), get(frame, b))? {
                        return LEFT;
                    }
                }
                Step::Equal { a, b } => {
                    if !world.equal(get(frame, a), get(frame, b))? {
                        return LEFT;
                    }
                }
                Step::Defined(source) => {
                    if get(frame, source).is_null() {
                        return LEFT;
                    }
                }
                Step::Undefined(source) => {
                    if !get(frame, source).is_null() {
                        return LEFT;
                    }
                }
                Step::Reset(target) => set(frame, *target, V::NONE),
                Step::Return(source) => {
                    self.returned = V::share(get(frame, source));
                    return Ok(Flow::Return);
                }
                Step::Blocks(blocks) => {
                    self.deeper()?;
                    let ended = self.blocks(blocks, frame)?;
                    self.depth -= 1;
                    match ended {
                        Flow::Next => {}
                        other => return Ok(other),
                    }
                }
                Step::Leave(level) => return Ok(Flow::Leave(*level)),
                Step::Not(inner) => {
                    self.deeper()?;
                    let ended = self.block(inner, frame)?;
                    self.depth -= 1;
                    match ended {
                        Flow::Next => return LEFT,
                        Flow::Return => return Ok(Flow::Return),
                        Flow::Leave(_) => {}
                    }
                }
                Step::Scan {
                    source,
                    key,
                    value,
                    block,
                } => {
                    self.deeper()?;
                    let returned = self.scan(get(frame, source), *key, *value, block, frame)?;
                    self.depth -= 1;
                    if returned {
                        return Ok(Flow::Return);
                    }
                }
                Step::Is { source, kind } => {
                    if world.kind(get(frame, source)) != *kind {
                        return LEFT;
                    }
                }
                Step::MakeList { target } => set(frame, *target, V::made(ffi::PyList_New(0))?),
                Step::MakeDict { target } => set(frame, *target, V::made(ffi::PyDict_New())?),
                Step::MakeSet { target } => set(
                    frame,
                    *target,
                    V::made(ffi::PySet_New(std::ptr::null_mut()))?,
                ),
                Step::Append { list, value } => {
                    let item = world.shown(get(frame, value));
                    done(ffi::PyList_Append(grown(frame, *list)?, item))?;
                }
                Step::Insert { object, key, value } => {
                    let name = world.as_key(get(frame, key))?;
                    let item = world.shown(get(frame, value));
                    done(ffi::PyDict_SetItem(grown(frame, *object)?, name.0, item))?;
                }
                Step::InsertOnce { object, key, value } => {
                    self.insert_once(grown(frame, *object)?, get(frame, key), get(frame, value))?;
                }
                Step::Add { set: within, value } => {
                    let member = world.as_key(get(frame, value))?;
                    done(ffi::PySet_Add(grown(frame, *within)?, member.0))?;
                }
                Step::Union { sets, result } => {
                    let union = V::made(ffi::PySet_New(std::ptr::null_mut()))?;
                    let mut found = union;
                    for arg in sets {
                        found = V::made(ffi::PyNumber_Or(found.0, world.shown(get(frame, arg))))?;
                    }
                    set(frame, *result, found);
                }
                Step::Length { source, target } => {
                    let found = self.length(get(frame, source))?;
                    set(frame, *target, found);
                }
                Step::Merge {
                    a,
                    b,
                    target,
                    may_share,
                } => {
                    let found = self.merge(get(frame, a), get(frame, b), *may_share)?;
                    set(frame, *target, found);
                }
                Step::Result(value) => self.results.push(V::share(get(frame, value))),
                Step::CallPath {
                    path,
                    arguments,
                    result,
                } => match self.call_by_path(path, arguments, frame)? {
                    None => return LEFT,
                    Some(found) if found.is_none() => return Ok(Flow::Leave(3)),
                    Some(found) => set(frame, *result, found),
                },
                Step::With {
                    local,
                    path,
                    is_whole,
                    value,
                    block,
                } => {
                    let item = get(frame, value);
                    let held = V::share(get_local(frame, *local));
                    let other = if *is_whole {
                        V::share(item)
                    } else {
                        world.call(world.upsert, &[held.0, *path, item])?
                    };
                    set(frame, *local, other);
                    match self.with(block, frame)? {
                        Flow::Next => set(frame, *local, held),
                        Flow::Return => return Ok(Flow::Return),
                        Flow::Leave(_) => {
                            set(frame, *local, held);
                            return LEFT;
                        }
                    }
                }
            }
        }
        Ok(Flow::Next)
    }

    #[inline]
    unsafe fn builtin(
        &self,
        builtin: Builtin,
        python: Obj,
        arguments: &[Arg],
        frame: *mut V,
    ) -> Res<V> {
        let mut given = [std::ptr::null_mut(); 4];
        if arguments.len() > given.len() {
            return Err(unfit());
        }
        for (place, argument) in arguments.iter().enumerate() {
            given[place] = get(frame, argument);
        }
        let given = &given[..arguments.len()];
        match self.world.apply(builtin, given)? {
            Some(found) => Ok(found),
            None => self.world.call(python, given),
        }
    }

    /// Return the value at a path. The values below the input and the data of an evaluation are looked up once.
    #[inline]
    unsafe fn at_path(&mut self, root: Obj, path: u32) -> Res<Obj> {
        if root == self.input || root == self.data {
            let found = self.memory.paths[path as usize].0;
            if !found.is_null() && self.is_of_root(root, path) {
                return Ok(if found == self.world.undefined {
                    std::ptr::null_mut()
                } else {
                    found
                });
            }
        }
        self.look_up(root, path)
    }

    #[inline]
    unsafe fn is_of_root(&self, root: Obj, path: u32) -> bool {
        let is_data = self.plan.paths.parts[path as usize].is_data;
        root == if is_data { self.data } else { self.input }
    }

    unsafe fn look_up(&mut self, root: Obj, path: u32) -> Res<Obj> {
        let part = &self.plan.paths.parts[path as usize];
        let above = match part.above {
            None => root,
            Some(above) => self.at_path(root, above)?,
        };
        let found = self.world.dot(above, part.key)?;
        if self.is_of_root(root, path) {
            let raw = found.0;
            self.memory.paths[path as usize] = V::share(self.world.shown(raw));
            if !part.is_data {
                self.memory.seen.push(path);
            }
            return Ok(raw);
        }
        // The root, which the frame holds, holds the value too.
        Ok(found.0)
    }

    /// Evaluate a block without the values that rules have for the present input.
    unsafe fn with(&mut self, block: &Block, frame: *mut V) -> Res<Flow> {
        self.deeper()?;
        let kept = std::mem::replace(&mut self.memory.kept, Kept::new(self.plan.rules.len()));
        let ended = self.block(block, frame);
        self.memory.kept = kept;
        self.depth -= 1;
        ended
    }

    unsafe fn assign_once(&mut self, target: u16, source: Obj, frame: *mut V) -> Res<()> {
        let held = get_local(frame, target);
        if !held.is_null() && !self.world.equal(held, source)? {
            self.world.call(self.world.once, &[held, source])?; // fails
            return Err(unfit());
        }
        set(frame, target, V::share(source));
        Ok(())
    }

    unsafe fn insert_once(&mut self, object: Obj, name: Obj, item: Obj) -> Res<()> {
        let world = self.world;
        if world.kind(name) == Kind::Str && !item.is_null() {
            let held = ffi::PyDict_GetItemWithError(object, name);
            if held.is_null() {
                if !ffi::PyErr_Occurred().is_null() {
                    return Err(Fail);
                }
                return done(ffi::PyDict_SetItem(object, name, item));
            }
        }
        world.call(world.insert_once, &[object, name, item])?;
        Ok(())
    }

    unsafe fn length(&self, value: Obj) -> Res<V> {
        let size = match self.world.kind(value) {
            Kind::List => ffi::PyList_Size(value),
            Kind::Dict => ffi::PyDict_Size(value),
            Kind::Set => ffi::PySet_Size(value),
            _ => return self.world.call(self.world.length, &[value]),
        };
        V::made(ffi::PyLong_FromSsize_t(size))
    }

    /// Return two objects merged, the first with precedence. The result may be one of them: no local grows that was not made.
    unsafe fn merge(&self, a: Obj, b: Obj, may_share: bool) -> Res<V> {
        let world = self.world;
        if a.is_null() {
            return Ok(V::share(b));
        }
        if may_share
            && world.kind(a) == Kind::Dict
            && world.kind(b) == Kind::Dict
            && ffi::PyDict_Size(b) == 0
        {
            return Ok(V::share(a));
        }
        world.call(world.merge, &[a, b])
    }

    /// Return the value of the rule at a path, `None` if there is no such rule.
    unsafe fn call_by_path(
        &mut self,
        path: &[Arg],
        arguments: &[Arg],
        frame: *mut V,
    ) -> Res<Option<V>> {
        let world = self.world;
        let mut names = Vec::with_capacity(path.len());
        let mut is_text = true;
        for arg in path {
            let part = get(frame, arg);
            if world.kind(part) != Kind::Str {
                world.as_key(part)?; // fails for what is no value
                is_text = false;
                continue;
            }
            let mut size = 0;
            let text = ffi::PyUnicode_AsUTF8AndSize(part, &mut size);
            if text.is_null() {
                return Err(Fail);
            }
            let text = std::slice::from_raw_parts(text.cast::<u8>(), size as usize);
            names.push(String::from_utf8_lossy(text).into_owned());
        }
        match self.plan.by_path.get(&names) {
            Some(rule)
                if is_text && self.plan.rules[*rule as usize].params.len() == arguments.len() =>
            {
                self.rule(*rule, arguments, frame).map(Some)
            }
            Some(_) if is_text => Err(unfit()),
            _ => Ok(None),
        }
    }

    /// Evaluate a block for each item of a collection. Return whether the block returned from the function.
    unsafe fn scan(
        &mut self,
        source: Obj,
        key: u16,
        value: u16,
        block: &Block,
        frame: *mut V,
    ) -> Res<bool> {
        let world = self.world;
        // A local may get another value within the block.
        let source = V::share(source);
        match world.kind(source.0) {
            Kind::List => {
                let mut place = 0;
                while place < ffi::PyList_Size(source.0) {
                    set(frame, key, V::made(ffi::PyLong_FromSsize_t(place))?);
                    set(
                        frame,
                        value,
                        world.held_item(ffi::PyList_GetItem(source.0, place)),
                    );
                    if matches!(self.block(block, frame)?, Flow::Return) {
                        return Ok(true);
                    }
                    place += 1;
                }
            }
            Kind::Dict if ffi::PyDict_Size(source.0) > 0 => match world.names(source.0) {
                Some(names) => {
                    let names = names?;
                    let size = ffi::PyList_Size(names.0);
                    let mut items = Vec::with_capacity(size as usize);
                    for place in 0..size {
                        items.push(world.field(source.0, ffi::PyList_GetItem(names.0, place))?);
                    }
                    for (place, item) in items.into_iter().enumerate() {
                        set(
                            frame,
                            key,
                            V::share(ffi::PyList_GetItem(names.0, place as ffi::Py_ssize_t)),
                        );
                        set(frame, value, item);
                        if matches!(self.block(block, frame)?, Flow::Return) {
                            return Ok(true);
                        }
                    }
                }
                None => {
                    let items = world.call(world.items, &[source.0])?;
                    for place in 0..ffi::PyList_Size(items.0) {
                        let pair = ffi::PyList_GetItem(items.0, place);
                        set(frame, key, world.held_item(ffi::PyTuple_GetItem(pair, 0)));
                        set(frame, value, world.held_item(ffi::PyTuple_GetItem(pair, 1)));
                        if matches!(self.block(block, frame)?, Flow::Return) {
                            return Ok(true);
                        }
                    }
                }
            },
            Kind::Set if ffi::PySet_Size(source.0) > 0 => {
                let members = world.members(source.0)?;
                for place in 0..ffi::PyList_Size(members.0) {
                    let member = ffi::PyList_GetItem(members.0, place);
                    set(frame, key, world.held_item(member));
                    set(frame, value, world.held_item(member));
                    if matches!(self.block(block, frame)?, Flow::Return) {
                        return Ok(true);
                    }
                }
            }
            _ => {}
        }
        Ok(false)
    }
}

#[inline]
unsafe fn get(frame: *mut V, arg: &Arg) -> Obj {
    match arg {
        Arg::Local(local) => (*frame.add(*local as usize)).0,
        Arg::Constant(found) => *found,
    }
}

#[inline]
unsafe fn get_local(frame: *mut V, local: u16) -> Obj {
    (*frame.add(local as usize)).0
}

#[inline]
unsafe fn set(frame: *mut V, local: u16, value: V) {
    *frame.add(local as usize) = value;
}

/// Return a collection that is to grow. One that was never made fails, as in Python.
#[inline]
unsafe fn grown(frame: *mut V, local: u16) -> Res<Obj> {
    let found = get_local(frame, local);
    if found.is_null() {
        return Err(unfit());
    }
    Ok(found)
}

/// Set an error of Python for nesting without end.
fn deep() -> Fail {
    fail(c"the evaluation is nested too deeply")
}

fn unfit() -> Fail {
    fail(c"a statement does not fit the values before it")
}

fn fail(words: &std::ffi::CStr) -> Fail {
    // SAFETY: the caller holds the GIL.
    unsafe {
        if ffi::PyErr_Occurred().is_null() {
            ffi::PyErr_SetString(ffi::PyExc_RuntimeError, words.as_ptr());
        }
    }
    Fail
}
