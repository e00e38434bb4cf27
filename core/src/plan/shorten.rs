//! The blocks of a function, with less to do for the same result. Pure, but for the constants that it makes.
//!
//! The same facts about locals as in `usage.py` and `known.py` make a change safe: a local is *settled* in a block of the
//! function if one statement gives it a value there, and each read comes after this statement in the same turn of each loop.

use std::collections::{HashMap, HashSet};

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyList, PySet};

use super::functions::Function as Builtin;
use super::read::{Arg, Block, Rule, Step};
use super::value::{Obj, World};

/// The fields that policies read below the input or the data. Each has a number.
#[derive(Default)]
pub struct Paths {
    pub parts: Vec<Part>,
    numbers: HashMap<(bool, Option<u32>, usize), u32>,
    /// The fields of the input itself, by their address.
    names: HashSet<usize>,
}

pub struct Part {
    pub is_data: bool,
    pub above: Option<u32>,
    pub key: Obj,
}

impl Paths {
    fn number(&mut self, is_data: bool, above: Option<u32>, key: Obj) -> u32 {
        let next = self.parts.len() as u32;
        // Strings of a plan are interned, so one text has one address.
        let found = *self
            .numbers
            .entry((is_data, above, key as usize))
            .or_insert(next);
        if found == next {
            self.parts.push(Part {
                is_data,
                above,
                key,
            });
        }
        found
    }

    /// Note the fields that a function reads of the input.
    pub fn note_names(&mut self, block: &Block, input: u16) {
        for step in block {
            if let Step::Dot {
                source: Arg::Local(source),
                key: Arg::Constant(key),
                ..
            } = step
                && *source == input
            {
                self.names.insert(*key as usize);
            }
            for inner in step.inner() {
                self.note_names(inner, input);
            }
        }
    }

    /// Return whether a path is below another.
    fn is_below(&self, path: u32, other: u32) -> bool {
        let mut found = self.parts[path as usize].above;
        while let Some(above) = found {
            if above == other {
                return true;
            }
            found = self.parts[above as usize].above;
        }
        false
    }
}

/// What shortening makes for all functions.
pub struct Shortener<'a, 'py> {
    pub py: Python<'py>,
    pub world: &'a World,
    pub paths: &'a mut Paths,
    pub constants: &'a mut Vec<Py<PyAny>>,
}

/// Gives locals of alternative blocks numbers of their own (`arrangement.py`). OPA numbers the locals of each block anew.
struct Separator {
    params: HashSet<u16>,
    mentions: HashMap<u16, usize>,
    next: u16,
}

impl Separator {
    fn new(rule: &Rule) -> Separator {
        let next = u16::try_from(rule.locals).unwrap_or(u16::MAX);
        Separator {
            params: rule.params.iter().copied().collect(),
            mentions: mentions(&rule.blocks),
            next,
        }
    }

    fn separate(&mut self, alternatives: &mut [Block]) {
        if alternatives.len() > 1 {
            let own: Vec<_> = alternatives
                .iter()
                .map(|block| mentions(std::slice::from_ref(block)))
                .collect();
            let mut absent = HashSet::new();
            for block in alternatives.iter() {
                flow(block, HashSet::new(), &mut absent);
            }
            let mut inside: HashMap<u16, (usize, usize)> = HashMap::new();
            for (local, times) in own.iter().flatten() {
                let (sum, blocks) = inside.entry(*local).or_default();
                (*sum, *blocks) = (*sum + times, *blocks + 1);
            }
            for (local, (times, blocks)) in inside {
                // A local with a mention outside may carry a value there.
                let is_kept = self.params.contains(&local) || absent.contains(&local);
                if is_kept || blocks < 2 || self.mentions.get(&local) != Some(&times) {
                    continue;
                }
                for (block, mentioned) in alternatives.iter_mut().zip(&own) {
                    if let Some(times) = mentioned.get(&local) {
                        self.rename(block, local, *times);
                    }
                }
            }
        }
        for block in alternatives {
            for step in block {
                self.separate(step.inner_mut());
            }
        }
    }

    fn rename(&mut self, block: &mut Block, local: u16, times: usize) {
        // Without a free number the local stays as it is.
        let Some(after) = self.next.checked_add(1) else {
            return;
        };
        let fresh = self.next;
        self.next = after;
        *self.mentions.entry(local).or_default() -= times;
        self.mentions.insert(fresh, times);
        for_each_local(block, &mut |found| {
            if *found == local {
                *found = fresh;
            }
        });
    }
}

/// Return how often blocks name each local.
fn mentions(blocks: &[Block]) -> HashMap<u16, usize> {
    let (mut written, mut reads) = (HashMap::new(), HashMap::new());
    for block in blocks {
        count(block, &mut written, &mut reads, &mut HashMap::new());
    }
    for (local, times) in written {
        *reads.entry(local).or_default() += times;
    }
    reads
}

/// What is known about the locals of one block of a function.
struct Facts {
    settled: HashSet<u16>,
    unchanged: HashSet<u16>,
    grown: HashMap<u16, usize>,
    reads: HashMap<u16, usize>,
    may_share: bool,
}

impl Shortener<'_, '_> {
    pub fn shorten(&mut self, rule: &mut Rule) -> PyResult<()> {
        let may_share = rule.may_share;
        let mut separator = Separator::new(rule);
        separator.separate(&mut rule.blocks);
        for at in 0..rule.blocks.len() {
            for _ in 0..MOST_ROUNDS {
                let facts = Facts::of(&rule.blocks, at, &rule.params, may_share);
                let mut copies = HashMap::new();
                self.fold(&mut rule.blocks[at], &facts, &mut copies)?;
                if copies.is_empty() {
                    break;
                }
            }
            let facts = Facts::of(&rule.blocks, at, &rule.params, may_share);
            self.find_paths(
                &mut rule.blocks[at],
                &facts,
                &rule.params,
                &mut HashMap::new(),
            );
            let facts = Facts::of(&rule.blocks, at, &rule.params, may_share);
            self.join(&mut rule.blocks[at], &facts);
        }
        for block in &mut rule.blocks {
            note_sharing(block, may_share);
        }
        renumber(rule)
    }

    // --- constants and copies ---

    /// Replace reads of copies and constants by what they are, and leave out the copying.
    fn fold(
        &mut self,
        block: &mut Block,
        facts: &Facts,
        copies: &mut HashMap<u16, Arg>,
    ) -> PyResult<()> {
        let mut kept = Vec::with_capacity(block.len());
        for mut step in block.drain(..) {
            for arg in step.args_mut() {
                if let Arg::Local(local) = arg
                    && let Some(found) = copies.get(local)
                {
                    *arg = *found;
                }
            }
            for inner in step.inner_mut() {
                self.fold(inner, facts, copies)?;
            }
            match step {
                Step::Assign { target, source } if facts.may_copy(target, source) => {
                    copies.insert(target, source);
                }
                other => kept.push(other),
            }
        }
        *block = kept;
        self.make_constants(block, facts, copies)
    }

    fn make_constants(
        &mut self,
        block: &mut Block,
        facts: &Facts,
        copies: &mut HashMap<u16, Arg>,
    ) -> PyResult<()> {
        let mut at = 0;
        while at < block.len() {
            if let Some((target, found, size)) = self.constant_at(block, at, facts)? {
                let raw = found.as_ptr();
                self.constants.push(found);
                // Later rounds put it into its readers.
                block.splice(
                    at..at + 1 + size,
                    [Step::Assign {
                        target,
                        source: Arg::Constant(raw),
                    }],
                );
                copies.insert(target, Arg::Constant(raw));
            }
            at += 1;
        }
        Ok(())
    }

    /// Return a collection of constants alone that nothing changes, with the number of its items.
    fn constant_at(
        &self,
        block: &Block,
        at: usize,
        facts: &Facts,
    ) -> PyResult<Option<(u16, Py<PyAny>, usize)>> {
        let target = match block[at] {
            Step::MakeList { target } | Step::MakeDict { target } | Step::MakeSet { target } => {
                target
            }
            _ => return Ok(None),
        };
        let mut items = Vec::new();
        for step in &block[at + 1..] {
            match step {
                Step::Append {
                    list: held,
                    value: Arg::Constant(value),
                }
                | Step::Add {
                    set: held,
                    value: Arg::Constant(value),
                } if *held == target => {
                    items.push((std::ptr::null_mut(), *value));
                }
                Step::Insert {
                    object,
                    key: Arg::Constant(key),
                    value: Arg::Constant(value),
                } if *object == target => {
                    items.push((*key, *value));
                }
                _ => break,
            }
        }
        let grows = facts.grown.get(&target).copied().unwrap_or(0);
        if !facts.may_share || !facts.settled.contains(&target) || grows != items.len() {
            return Ok(None);
        }
        let found = self.collection(&block[at], &items)?;
        Ok(Some((target, found, items.len())))
    }

    fn collection(&self, made: &Step, items: &[(Obj, Obj)]) -> PyResult<Py<PyAny>> {
        let py = self.py;
        // SAFETY: the constants of a plan are objects that it owns.
        let bound = |raw: Obj| unsafe { Bound::from_borrowed_ptr(py, raw) };
        // SAFETY: as above.
        let key = |raw: Obj| -> PyResult<Bound<'_, PyAny>> {
            let found = unsafe { self.world.as_key(raw) }.map_err(|_| PyErr::fetch(py))?;
            let raw = found.0;
            Ok(bound(raw))
        };
        Ok(match made {
            Step::MakeList { .. } => PyList::new(py, items.iter().map(|item| bound(item.1)))?
                .into_any()
                .unbind(),
            Step::MakeSet { .. } => {
                let set = PySet::empty(py)?;
                for item in items {
                    set.add(key(item.1)?)?;
                }
                set.into_any().unbind()
            }
            _ => {
                let fields = PyDict::new(py);
                for item in items {
                    fields.set_item(key(item.0)?, bound(item.1))?;
                }
                fields.into_any().unbind()
            }
        })
    }

    // --- fields of the input and of the data ---

    /// Replace fields of fields of the input or the data by their paths.
    fn find_paths(
        &mut self,
        block: &mut Block,
        facts: &Facts,
        params: &[u16],
        known: &mut HashMap<u16, (u16, u32)>,
    ) {
        for step in block.iter_mut() {
            for inner in step.inner_mut() {
                self.find_paths(inner, facts, params, known);
            }
            let Step::Dot {
                source: Arg::Local(source),
                key: Arg::Constant(key),
                target,
            } = *step
            else {
                continue;
            };
            // SAFETY: the constants of a plan are objects that it owns.
            if unsafe { ffi::Py_TYPE(key) != &raw mut ffi::PyUnicode_Type } {
                continue;
            }
            let place = params.iter().position(|param| *param == source);
            // Some functions get the input as an argument.
            let is_root = facts.unchanged.contains(&source)
                && place
                    .is_some_and(|place| place < 2 || self.paths.names.contains(&(key as usize)));
            let path = if is_root {
                self.paths.number(place == Some(1), None, key)
            } else if let Some((_, above)) = known.get(&source) {
                self.paths
                    .number(self.paths.parts[*above as usize].is_data, Some(*above), key)
            } else {
                continue;
            };
            let root = if is_root { source } else { known[&source].0 };
            if facts.settled.contains(&target) {
                known.insert(target, (root, path));
            }
            *step = Step::Path { root, path, target };
        }
    }

    // --- steps in the place of several ---

    fn join(&mut self, block: &mut Block, facts: &Facts) {
        let mut kept: Vec<Step> = Vec::with_capacity(block.len());
        for mut step in std::mem::take(block).into_iter().rev() {
            for inner in step.inner_mut() {
                self.join(inner, facts);
            }
            match (step, kept.last()) {
                // A path that only leads to the next: without the first there is no second.
                (Step::Path { path, target, .. }, Some(Step::Path { path: next, .. }))
                    if facts.is_read(target, 0, next, path, self.paths) => {}
                (
                    Step::CallBuiltin {
                        builtin,
                        python,
                        arguments,
                        result,
                        ..
                    },
                    Some(Step::NotEqual {
                        a: Arg::Local(tested),
                        b: Arg::Constant(truth),
                    }),
                ) if *tested == result
                    && self.is_false(*truth)
                    && builtin.gives_truth()
                    && facts.settled.contains(&result)
                    && facts.reads.get(&result) == Some(&1) =>
                {
                    kept.pop();
                    kept.push(Step::TestBuiltin {
                        builtin,
                        python,
                        arguments,
                    });
                }
                (
                    Step::CallRule {
                        rule,
                        arguments,
                        result,
                    },
                    Some(Step::NotEqual {
                        a: Arg::Local(tested),
                        b: Arg::Constant(truth),
                    }),
                ) if *tested == result
                    && self.is_false(*truth)
                    && facts.settled.contains(&result)
                    && facts.reads.get(&result) == Some(&1) =>
                {
                    kept.pop();
                    kept.push(Step::TestRule { rule, arguments });
                }
                (step, _) => kept.push(step),
            }
        }
        kept.reverse();
        for at in (0..kept.len()).rev() {
            join_sets(&mut kept, at, facts);
        }
        *block = kept;
    }

    fn is_false(&self, found: Obj) -> bool {
        found == PyBool::new(self.py, false).as_ptr()
    }
}

/// Rounds of folding. A collection in a collection takes one more.
const MOST_ROUNDS: usize = 6;

/// Replace the making of a set of sets for their union alone, which needs no keys of them.
fn join_sets(block: &mut Block, at: usize, facts: &Facts) {
    let Some(Step::MakeSet { target }) = block.get(at) else {
        return;
    };
    let target = *target;
    let mut sets = Vec::new();
    let mut place = at + 1;
    let result = loop {
        match block.get(place) {
            Some(Step::Add { set, value }) if *set == target && *value != Arg::Local(target) => {
                sets.push(*value)
            }
            Some(Step::CallBuiltin {
                builtin: Builtin::Union,
                arguments,
                result,
                ..
            }) if arguments.as_slice() == [Arg::Local(target)] => {
                break *result;
            }
            _ => return,
        }
        place += 1;
    };
    let is_only_here = facts.reads.get(&target) == Some(&(sets.len() + 1));
    if is_only_here && facts.settled.contains(&target) {
        block.splice(at..=place, [Step::Union { sets, result }]);
    }
}

impl Facts {
    fn of(blocks: &[Block], at: usize, params: &[u16], may_share: bool) -> Facts {
        let mut absent = HashSet::new();
        let mut written = HashMap::new();
        let mut grown = HashMap::new();
        for block in blocks {
            flow(block, HashSet::new(), &mut absent);
            count(block, &mut written, &mut HashMap::new(), &mut grown);
        }
        let mut here = HashMap::new();
        let mut reads = HashMap::new();
        count(&blocks[at], &mut here, &mut reads, &mut HashMap::new());
        Facts {
            settled: here
                .into_iter()
                .filter(|(local, times)| *times == 1 && !absent.contains(local))
                .map(|(local, _)| local)
                .collect(),
            unchanged: params
                .iter()
                .copied()
                .filter(|param| !written.contains_key(param))
                .collect(),
            grown,
            reads,
            may_share,
        }
    }

    /// Return whether reads of a copy may be reads of its source.
    fn may_copy(&self, target: u16, source: Arg) -> bool {
        let is_lasting = match source {
            Arg::Constant(_) => true,
            Arg::Local(local) => self.settled.contains(&local) || self.unchanged.contains(&local),
        };
        is_lasting && self.settled.contains(&target) && !self.grown.contains_key(&target)
    }

    fn is_read(&self, target: u16, times: usize, next: &u32, path: u32, paths: &Paths) -> bool {
        self.settled.contains(&target)
            && self.reads.get(&target).copied().unwrap_or(0) == times
            && paths.is_below(*next, path)
    }
}

/// Count the statements that give each local a value, read it, or add to it.
fn count(
    block: &Block,
    written: &mut HashMap<u16, usize>,
    reads: &mut HashMap<u16, usize>,
    grown: &mut HashMap<u16, usize>,
) {
    for step in block {
        for local in step.reads() {
            *reads.entry(local).or_default() += 1;
        }
        for local in step
            .written()
            .map(|found| found.0)
            .into_iter()
            .chain(step.rebound())
        {
            *written.entry(local).or_default() += 1;
        }
        if let Some(local) = step.grown() {
            *grown.entry(local).or_default() += 1;
        }
        for inner in step.inner() {
            count(inner, written, reads, grown);
        }
    }
}

/// Return the locals that have a value after a block, and note those that it may read before (`usage.py`).
fn flow(block: &Block, before: HashSet<u16>, absent: &mut HashSet<u16>) -> HashSet<u16> {
    let mut assigned = before.clone();
    for step in block {
        absent.extend(
            step.reads()
                .into_iter()
                .filter(|local| !assigned.contains(local)),
        );
        for inner in step.inner() {
            let mut within = assigned.clone();
            if let Step::Scan { key, value, .. } = step {
                within.extend([*key, *value]);
            }
            let after = flow(inner, within, absent);
            if matches!(step, Step::Blocks(_)) {
                assigned = after;
            }
        }
        if let Some((local, _)) = step.written() {
            assigned.insert(local);
        }
    }
    if leaves(block) != 0 { before } else { assigned }
}

/// Return the frames that something in a block may leave early, as bits: the lowest is the block itself.
fn leaves(block: &Block) -> u64 {
    block.iter().fold(0, |found, step| {
        found
            | match step {
                Step::Leave(level) => 1_u64.checked_shl(*level).unwrap_or(u64::MAX),
                Step::CallPath { .. } => 0b1001,
                Step::Blocks(blocks) => blocks
                    .iter()
                    .fold(0, |within, inner| within | (leaves(inner) >> 1)),
                Step::Append { .. }
                | Step::Assign { .. }
                | Step::AssignOnce { .. }
                | Step::Length { .. }
                | Step::MakeList { .. }
                | Step::MakeDict { .. }
                | Step::MakeSet { .. }
                | Step::Insert { .. }
                | Step::InsertOnce { .. }
                | Step::Merge { .. }
                | Step::Reset(_)
                | Step::Result(_)
                | Step::Return(_)
                | Step::Scan { .. }
                | Step::Union { .. }
                | Step::Add { .. } => 0,
                _ => 1,
            }
    })
}

/// Let merged objects be one of the two where no value grows but those that the function made.
fn note_sharing(block: &mut Block, may_share: bool) {
    for step in block {
        if let Step::Merge {
            may_share: noted, ..
        } = step
        {
            *noted = may_share;
        }
        for inner in step.inner_mut() {
            note_sharing(inner, may_share);
        }
    }
}

/// Give the locals that are left numbers without gaps.
fn renumber(rule: &mut Rule) -> PyResult<()> {
    let mut numbers: HashMap<u16, u16> = HashMap::new();
    let mut number = |local: &mut u16| {
        let next = numbers.len() as u16;
        *local = *numbers.entry(*local).or_insert(next);
    };
    rule.params.iter_mut().for_each(&mut number);
    for block in &mut rule.blocks {
        for_each_local(block, &mut number);
    }
    rule.locals = numbers.len();
    Ok(())
}

fn for_each_local(block: &mut Block, number: &mut impl FnMut(&mut u16)) {
    for step in block {
        step.locals_mut().into_iter().for_each(&mut *number);
        for arg in step.args_mut() {
            if let Arg::Local(local) = arg {
                number(local);
            }
        }
        for inner in step.inner_mut() {
            for_each_local(inner, number);
        }
    }
}
