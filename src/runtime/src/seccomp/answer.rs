//! What a filter answers for each system call number of one calling convention.

use std::ops::Range;

use super::{
    arch::{Abi, Multiplexed, X32_BIT},
    rule::{Rule, permissiveness},
};

/// The rules of a profile under the numbers of one convention.
pub struct Numbered<'a> {
    /// The convention.
    pub abi: Abi,
    /// Once sorted, by number, and among equals in the order of the profile.
    pub uses: Vec<Use<'a>>,
    /// The highest number the profile names, a rule that repeats the default included.
    newest: Option<u32>,
}

/// A rule as it applies to one number.
pub struct Use<'a> {
    number: u32,
    /// Its position among the rules.
    pub rule: usize,
    action: u32,
    unconditional: bool,
    /// How it comes to stand under this number.
    pub target: Target<'a>,
}

impl Use<'_> {
    /// See [`permissiveness`].
    pub fn permissiveness(&self) -> i32 {
        permissiveness(self.action)
    }
}

/// The way to a call.
pub enum Target<'a> {
    /// By its own number, under this name.
    Call(&'a str),
    /// Through a multiplexer.
    Multiplexed(Multiplexed),
}

impl<'a> Numbered<'a> {
    /// No rules yet, and room for those of `names` names.
    pub fn new(abi: Abi, names: usize) -> Self {
        Self { abi, uses: Vec::with_capacity(names), newest: None }
    }

    /// Adds the rule at position `rule` for the system call `name`, after those before it in the profile. False if
    /// there is no such system call.
    pub fn add(&mut self, rule: usize, read: &Rule<'a>, name: &'a str, default: u32) -> bool {
        let number = self.abi.number(name);
        let multiplexed = self.abi.multiplexed(name);
        if let Some(number) = number
            && !self.abi.is_private(number)
        {
            self.newest = self.newest.max(Some(number));
        }
        let known = number.is_some() || multiplexed.is_some();
        let action = read.action;
        if action == default {
            return known;
        }
        let unconditional = read.is_unconditional();
        if let Some(number) = number {
            self.uses.push(Use { number, rule, action, unconditional, target: Target::Call(name) });
        }
        // The multiplexers take their arguments from memory, where a filter cannot see them. A rule with conditions
        // can therefore not be kept to the letter: where it restricts, it holds for the whole call; where it
        // permits, it does not reach it.
        if let Some(multiplexed) = multiplexed
            && (unconditional || permissiveness(action) < permissiveness(default))
        {
            let number = multiplexed.number;
            let target = Target::Multiplexed(multiplexed);
            self.uses.push(Use { number, rule, action, unconditional: false, target });
        }
        known
    }

    /// Brings the rules of each number together, keeping their order.
    pub fn sort(&mut self) {
        self.uses.sort_by_key(|used| used.number);
    }

    /// Appends what to answer from each number on; `position` is this convention's, for the answers to point back.
    pub fn answers(&self, position: usize, default: u32, answers: &mut Vec<(u32, Answer)>) {
        let newest = self.newest.filter(|_| !lets_pass(default));
        let gap = |number| match newest {
            Some(newest) if number > newest => Answer::Action(ENOSYS),
            _ => Answer::Action(default),
        };
        let mut unheard_of = newest.map(|newest| newest + 1);
        push(answers, if self.abi == Abi::X32 { X32_BIT } else { 0 }, Answer::Action(default));
        let mut done = 0;
        for group in self.uses.chunk_by(|a, b| a.number == b.number) {
            let uses = done..done + group.len();
            done = uses.end;
            let Some(Use { number, .. }) = group.first() else { continue };
            // ARM's private calls and the multiplexers can stand past the newest.
            if let Some(start) = unheard_of.take_if(|start| *start <= *number) {
                push(answers, start, Answer::Action(ENOSYS));
            }
            let answer = match group.iter().find(|used| used.unconditional) {
                Some(used) => Answer::Action(used.action),
                None => Answer::Rules { position, uses },
            };
            push(answers, *number, answer);
            push(answers, number + 1, gap(number + 1));
        }
        if let Some(start) = unheard_of {
            push(answers, start, Answer::Action(ENOSYS));
        }
    }
}

/// What the filter answers for a range of numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Always the same.
    Action(u32),
    /// Uses of a convention, by its position and theirs: the arguments decide.
    Rules { position: usize, uses: Range<usize> },
}

/// What a call of an architecture that is not filtered gets, as from libseccomp.
pub const KILL_THREAD: u32 = 0;
const ENOSYS: u32 = 0x0005_0000 | 38;

/// Whether a default of `action` lets system calls pass. A tracer is expected to know what to do with new ones.
fn lets_pass(action: u32) -> bool {
    // The kinds from SECCOMP_RET_TRACE upwards: trace, log, allow.
    permissiveness(action) >= 0x7ff0_0000
}

/// Adds a range from `start` on: replaces an empty one, extends one with the same answer.
pub fn push(answers: &mut Vec<(u32, Answer)>, start: u32, answer: Answer) {
    if answers.last().is_some_and(|(from, _)| *from == start) {
        answers.pop();
    }
    if answers.last().is_none_or(|(_, last)| *last != answer) {
        answers.push((start, answer));
    }
}
