//! From answers by number to instructions: the architecture, then the number, then the arguments.

use std::cmp::Reverse;

use seccompiler::sock_filter;

use super::{
    answer::{Answer, KILL_THREAD, Numbered, Target, Use, push},
    arch::{Abi, X32_BIT},
    emit::{Compare, Emitter, Field, Label, TooLong},
    rule::{Condition, Rule},
    width::{self, Width},
};

/// The program for `conventions`, the kernel's own first.
pub fn emit(
    conventions: &[Numbered<'_>],
    rules: &[Rule<'_>],
    default: u32,
) -> Result<Vec<sock_filter>, TooLong> {
    let mut program = Program { emitter: Emitter::default(), conventions, rules, default };
    let mut otherwise = program.emitter.ret(KILL_THREAD)?;
    // Written last to first, so that the kernel's own architecture is the first that is asked for.
    for (position, convention) in conventions.iter().enumerate().rev() {
        if convention.abi == Abi::X32 {
            continue;
        }
        let mut answers = Vec::new();
        convention.answers(position, default, &mut answers);
        if convention.abi == Abi::X86_64 {
            program.x32(&mut answers);
        }
        let tree = program.tree(&answers)?;
        let section = program.emitter.load(Field::Number, tree)?;
        otherwise = program.emitter.branch(Compare::Equal, convention.abi.audit(), section, otherwise)?;
    }
    program.emitter.load(Field::Arch, otherwise)?;
    Ok(program.emitter.finish())
}

struct Program<'a> {
    emitter: Emitter,
    conventions: &'a [Numbered<'a>],
    rules: &'a [Rule<'a>],
    default: u32,
}

impl Program<'_> {
    /// x32 shares x86-64's architecture, above [`X32_BIT`].
    fn x32(&self, answers: &mut Vec<(u32, Answer)>) {
        let mut conventions = self.conventions.iter().enumerate();
        match conventions.find(|(_, convention)| convention.abi == Abi::X32) {
            Some((position, convention)) => convention.answers(position, self.default, answers),
            None => {
                push(answers, X32_BIT, Answer::Action(KILL_THREAD));
                // A tracer skips a call by making its number -1, which has the x32 bit too.
                push(answers, u32::MAX, Answer::Action(self.default));
            }
        }
    }

    /// Searches `ranges` for the number in the accumulator.
    fn tree(&mut self, ranges: &[(u32, Answer)]) -> Result<Label, TooLong> {
        let (low, high) = ranges.split_at_checked(ranges.len() / 2).unwrap_or_default();
        match (low, high) {
            ([], [(_, answer)]) => self.leaf(answer),
            (_, [(from, _), ..]) => {
                let right = self.tree(high)?;
                let left = self.tree(low)?;
                self.emitter.branch(Compare::GreaterEqual, *from, right, left)
            }
            (_, []) => self.emitter.ret(self.default),
        }
    }

    fn leaf(&mut self, answer: &Answer) -> Result<Label, TooLong> {
        let (position, uses) = match answer {
            Answer::Action(action) => return self.emitter.ret(*action),
            Answer::Rules { position, uses } => (*position, uses.clone()),
        };
        let mut otherwise = self.emitter.ret(self.default)?;
        let Some(convention) = self.conventions.get(position) else { return Ok(otherwise) };
        let mut uses: Vec<_> = convention.uses.get(uses).unwrap_or_default().iter().rev().collect();
        // What is written last is asked first: the most restrictive, and of several alike the profile's first.
        uses.sort_by_key(|used| Reverse(used.permissiveness()));
        for used in uses {
            otherwise = self.used(convention.abi, used, otherwise)?;
        }
        Ok(otherwise)
    }

    /// Asks whether one rule holds, else goes to `otherwise`.
    fn used(&mut self, abi: Abi, used: &Use<'_>, mut otherwise: Label) -> Result<Label, TooLong> {
        let Some(rule) = self.rules.get(used.rule) else { return Ok(otherwise) };
        let name = match &used.target {
            Target::Call(name) => name,
            Target::Multiplexed(multiplexed) => {
                let (mask, value) = (multiplexed.mask.into(), multiplexed.call.into());
                let yes = self.emitter.ret(rule.action)?;
                return self.condition(0, Condition::Masked { mask, value }, yes, otherwise);
            }
        };
        for conjunction in rule.alternatives.iter().rev() {
            let mut next = self.emitter.ret(rule.action)?;
            for argument in conjunction.iter().rev() {
                let width = width::of(abi, name, argument.index());
                let index = u32::try_from(argument.index()).map_err(|_| TooLong)?;
                next = self.condition(index, Condition::new(argument, width), next, otherwise)?;
            }
            otherwise = next;
        }
        Ok(otherwise)
    }

    /// Asks for one condition on argument `index`.
    fn condition(
        &mut self,
        index: u32,
        condition: Condition,
        yes: Label,
        no: Label,
    ) -> Result<Label, TooLong> {
        match condition {
            Condition::Constant(holds) => Ok(if holds { yes } else { no }),
            Condition::Masked { mask, value } => {
                let low = self.masked(Field::Low(index), halves(mask).1, halves(value).1, yes, no)?;
                self.masked(Field::High(index), halves(mask).0, halves(value).0, low, no)
            }
            Condition::Compare { how, value, width, negated } => {
                let (yes, no) = if negated { (no, yes) } else { (yes, no) };
                match width {
                    Width::Bits64 => self.wide(index, how, value, yes, no),
                    Width::Bits32 => self.narrow(index, u32::MAX, how, value, yes, no),
                    Width::Bits16 => self.narrow(index, 0xffff, how, value, yes, no),
                }
            }
        }
    }

    fn masked(
        &mut self,
        field: Field,
        mask: u32,
        value: u32,
        yes: Label,
        no: Label,
    ) -> Result<Label, TooLong> {
        let test = match (mask, value) {
            (0, _) => return Ok(yes),
            (u32::MAX, _) => self.emitter.branch(Compare::Equal, value, yes, no)?,
            (_, 0) => self.emitter.branch(Compare::AnyBit, mask, no, yes)?,
            _ => {
                let equal = self.emitter.branch(Compare::Equal, value, yes, no)?;
                self.emitter.and(mask, equal)?
            }
        };
        self.emitter.load(field, test)
    }

    /// A comparison of the argument's low bits.
    fn narrow(
        &mut self,
        index: u32,
        mask: u32,
        how: Compare,
        value: u64,
        yes: Label,
        no: Label,
    ) -> Result<Label, TooLong> {
        let mut test = self.emitter.branch(how, halves(value).1, yes, no)?;
        if mask != u32::MAX {
            test = self.emitter.and(mask, test)?;
        }
        self.emitter.load(Field::Low(index), test)
    }

    /// A comparison of 64 bits: of the high halves, and where these are equal, of the low ones.
    fn wide(
        &mut self,
        index: u32,
        how: Compare,
        value: u64,
        yes: Label,
        no: Label,
    ) -> Result<Label, TooLong> {
        let (high, low) = halves(value);
        let lows = self.emitter.branch(how, low, yes, no)?;
        let lows = self.emitter.load(Field::Low(index), lows)?;
        let mut highs = self.emitter.branch(Compare::Equal, high, lows, no)?;
        if how != Compare::Equal {
            highs = self.emitter.branch(Compare::Greater, high, yes, highs)?;
        }
        self.emitter.load(Field::High(index), highs)
    }
}

fn halves(value: u64) -> (u32, u32) {
    #[expect(clippy::cast_possible_truncation, reason = "the low half is what is asked for")]
    let low = value as u32;
    let high = (value >> 32) as u32;
    (high, low)
}
