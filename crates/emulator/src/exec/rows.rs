//! Few rows for many registers: registers whose values are never needed at the same time share a row.
//!
//! PTX has a register for each value, thousands in a kernel; with a row for each, a warp's registers would not fit
//! into the processor's caches. Live ranges by data flow, rows by a linear scan (Poletto and Sarkar, 1999). What holds
//! for one lane's path holds for all, as lanes only write their own part of a row.

use super::instruction::{ALWAYS, Access, Code, Instruction, Reduction, Row, Step};

/// While a kernel is decoded, a row's highest bits say what it is of.
pub(crate) const FILE_SHIFT: u32 = 30;
pub(crate) const WORD: u32 = 0;
pub(crate) const DOUBLE: u32 = 1;
pub(crate) const BIT: u32 = 2;
/// No row but a number.
pub(crate) const LITERAL: u32 = 3;
/// The predicate that a shuffle leaves.
pub(crate) const SHUFFLED: u32 = BIT << FILE_SHIFT;
const IDX: u32 = (1 << FILE_SHIFT) - 1;

/// A row without what it is of.
pub(crate) fn index(row: u32) -> u32 {
    row & IDX
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Use,
    Define,
}

/// Calls `f` with each row of an instruction.
fn visit(code: &mut Code, at: usize, f: &mut dyn FnMut(&mut u32, Role)) {
    let Code { instructions, accesses, matrices, barriers, .. } = code;
    let Instruction { step, o, .. } = &mut instructions[at];
    let mut row = |row: &mut Row, role| {
        let (Row::Word(it) | Row::Double(it)) = row;
        f(it, role);
    };
    let sources = |access: &mut Access, row: &mut dyn FnMut(&mut Row, Role)| {
        access.base.iter_mut().for_each(|it| row(it, Role::Use));
        access.source.iter_mut().for_each(|it| row(&mut it.0, Role::Use));
        if let Some(it) = &mut access.source_bytes {
            let mut of = Row::Word(*it);
            row(&mut of, Role::Use);
            let (Row::Word(new) | Row::Double(new)) = of;
            *it = new;
        }
    };
    match step {
        Step::Load(idx) | Step::LoadMatrix(idx) => {
            let access = &mut accesses[*idx as usize];
            sources(access, &mut row);
            access.rows.iter_mut().for_each(|it| row(it, Role::Define));
        }
        Step::Store(idx) | Step::CopyAsync(idx) => {
            let access = &mut accesses[*idx as usize];
            sources(access, &mut row);
            access.rows.iter_mut().for_each(|it| row(it, Role::Use));
        }
        Step::Atomic(idx) => {
            let access = &mut accesses[*idx as usize];
            sources(access, &mut row);
            let last = access.rows.len() - 1;
            access.rows[..last].iter_mut().for_each(|it| row(it, Role::Use));
            row(&mut access.rows[last], Role::Define);
        }
        Step::Multiply(idx) => {
            let m = &mut matrices[*idx as usize];
            m.a.iter_mut().chain(&mut m.b).chain(&mut m.c).for_each(|it| f(it, Role::Use));
            m.d.iter_mut().for_each(|it| f(it, Role::Define));
        }
        Step::Barrier(idx) => {
            let barrier = &mut barriers[*idx as usize];
            f(&mut barrier.id, Role::Use);
            barrier.threads.iter_mut().for_each(|it| f(it, Role::Use));
            if let Some(
                Reduction::Count { d, p } | Reduction::All { d, p } | Reduction::Any { d, p },
            ) = &mut barrier.reduction
            {
                f(p, Role::Use);
                f(d, Role::Define);
            }
        }
        Step::Branch(_)
        | Step::Exit
        | Step::Commit
        | Step::Wait(_)
        | Step::Nothing
        | Step::Forbidden(_) => {}
        Step::Lanes(_)
        | Step::Divide(..)
        | Step::Convert(_)
        | Step::BranchTable(_)
        | Step::Shuffle(_)
        | Step::Vote(_)
        | Step::Reduce(_)
        | Step::Match
        | Step::ActiveMask
        | Step::WarpSync => {
            [&mut o.a, &mut o.b, &mut o.c, &mut o.e].into_iter().for_each(|it| f(it, Role::Use));
            f(&mut o.d, Role::Define);
        }
    }
}

/// Positions of a register's values.
#[derive(Clone, Copy)]
struct Range {
    first: u32,
    last: u32,
}

/// Gives registers their rows. Returns the line of a read of a register that no path has written, if there is one.
pub(crate) fn share(code: &mut Code) -> Option<u32> {
    let sizes = [code.n_words, code.n_doubles, code.n_bits];
    let begins = [0, sizes[0], sizes[0] + sizes[1]];
    let number = |row: u32| begins[(row >> FILE_SHIFT) as usize] + index(row) as usize;
    let n = sizes.iter().sum::<usize>();
    // What keeps a row of its own.
    let mut fixed = vec![false; n];
    fixed[number(WORD)] = true;
    fixed[number(SHUFFLED)] = true;
    let rows = code
        .word_constants
        .iter()
        .map(|it| it.0)
        .chain(code.double_constants.iter().map(|it| it.0));
    let rows = rows
        .chain(code.bit_constants.iter().map(|it| it.0))
        .chain(code.specials.iter().map(|it| it.0));
    rows.for_each(|it| fixed[number(it)] = true);
    let (ranges, unwritten) = ranges(code, n, &number);
    let unwritten =
        unwritten.into_iter().find(|it| !fixed[*it]).and_then(|it| first_use(code, it, &number));

    let mut new = vec![0u32; n];
    let mut n_rows = [0u32; 3];
    for file in 0..3 {
        for idx in (0..sizes[file]).filter(|idx| fixed[begins[file] + idx]) {
            new[begins[file] + idx] = n_rows[file];
            n_rows[file] += 1;
        }
        let mut order: Vec<usize> = (begins[file]..begins[file] + sizes[file])
            .filter(|it| !fixed[*it] && ranges[*it].is_some())
            .collect();
        let range = |it: usize| ranges[it].unwrap_or(Range { first: 0, last: 0 });
        order.sort_by_key(|it| range(*it).first);
        let mut taken = std::collections::BinaryHeap::new();
        let mut free = Vec::new();
        for it in order {
            let Range { first, last } = range(it);
            while let Some(std::cmp::Reverse((end, row))) =
                taken.peek().copied().filter(|it: &std::cmp::Reverse<(u32, u32)>| it.0.0 < first)
            {
                let _ = end;
                taken.pop();
                free.push(row);
            }
            let row = free.pop().unwrap_or_else(|| {
                n_rows[file] += 1;
                n_rows[file] - 1
            });
            new[it] = row;
            taken.push(std::cmp::Reverse((last, row)));
        }
    }

    let replace = |row: &mut u32| {
        *row = if *row >> FILE_SHIFT == LITERAL { index(*row) } else { new[number(*row)] };
    };
    for at in 0..code.instructions.len() {
        visit(code, at, &mut |row, _| replace(row));
        let guard = &mut code.instructions[at].guard;
        if *guard != ALWAYS {
            let mut row = (BIT << FILE_SHIFT) | (*guard / 2);
            replace(&mut row);
            *guard = row * 2 + *guard % 2;
        }
    }
    code.word_constants.iter_mut().for_each(|it| replace(&mut it.0));
    code.double_constants.iter_mut().for_each(|it| replace(&mut it.0));
    code.bit_constants.iter_mut().for_each(|it| replace(&mut it.0));
    code.specials.iter_mut().for_each(|it| replace(&mut it.0));
    [code.n_words, code.n_doubles, code.n_bits] = n_rows.map(|it| it as usize);
    unwritten
}

/// A piece of code without branches in or out.
struct Piece {
    begin: usize,
    end: usize,
    next: Vec<usize>,
    used: Vec<u64>,
    defined: Vec<u64>,
    live_in: Vec<u64>,
}

/// The line of the first instruction that reads a register.
fn first_use(code: &mut Code, register: usize, number: &dyn Fn(u32) -> usize) -> Option<u32> {
    (0..code.instructions.len()).find_map(|at| {
        let Instruction { guard, line, .. } = code.instructions[at];
        let mut found = guard != ALWAYS && number((BIT << FILE_SHIFT) | (guard / 2)) == register;
        visit(code, at, &mut |row, role| {
            found |= *row >> FILE_SHIFT != LITERAL && role == Role::Use && number(*row) == register;
        });
        found.then_some(line)
    })
}

/// The positions of each register's values, and the registers that are read before they are written.
fn ranges(
    code: &mut Code,
    n: usize,
    number: &dyn Fn(u32) -> usize,
) -> (Vec<Option<Range>>, Vec<usize>) {
    let n_code = code.instructions.len();
    let n_words = n.div_ceil(64);
    let has = |set: &[u64], it: usize| set[it / 64] >> (it % 64) & 1 != 0;
    let set = |set: &mut [u64], it: usize| set[it / 64] |= 1 << (it % 64);
    let mut ranges: Vec<Option<Range>> = vec![None; n];
    let mut extend = |it: usize, at: usize| {
        let at = at as u32;
        let range = ranges[it].get_or_insert(Range { first: at, last: at });
        (range.first, range.last) = (range.first.min(at), range.last.max(at));
    };
    let mut pieces = pieces(code);
    for piece in &mut pieces {
        (piece.used, piece.defined, piece.live_in) =
            (vec![0; n_words], vec![0; n_words], vec![0; n_words]);
        for at in piece.begin..piece.end {
            let guard = code.instructions[at].guard;
            let mut defined = Vec::new();
            let uses = |it: usize, piece: &mut Piece| {
                if !has(&piece.defined, it) {
                    set(&mut piece.used, it);
                }
            };
            if guard != ALWAYS {
                let it = number((BIT << FILE_SHIFT) | (guard / 2));
                uses(it, piece);
                extend(it, at);
            }
            visit(code, at, &mut |row, role| {
                if *row >> FILE_SHIFT == LITERAL {
                    return;
                }
                let it = number(*row);
                extend(it, at);
                // Under a predicate the old value may stay.
                if role == Role::Use || guard != ALWAYS {
                    uses(it, piece);
                }
                if role == Role::Define {
                    defined.push(it);
                }
            });
            if guard == ALWAYS {
                defined.into_iter().for_each(|it| set(&mut piece.defined, it));
            }
        }
    }
    let mut changed = true;
    let mut out = vec![0u64; n_words];
    while changed {
        changed = false;
        for idx in (0..pieces.len()).rev() {
            out.fill(0);
            for next in &pieces[idx].next {
                out.iter_mut().zip(&pieces[*next].live_in).for_each(|(a, b)| *a |= b);
            }
            let piece = &mut pieces[idx];
            for (word, out) in out.iter().enumerate() {
                let live = piece.used[word] | (out & !piece.defined[word]);
                changed |= live != piece.live_in[word];
                piece.live_in[word] = live;
            }
        }
    }
    for idx in 0..pieces.len() {
        let piece = &pieces[idx];
        for word in 0..n_words {
            let out = piece.next.iter().fold(0, |all, next| all | pieces[*next].live_in[word]);
            for (bits, at) in [(piece.live_in[word], piece.begin), (out, piece.end - 1)] {
                let mut bits = bits;
                while bits != 0 {
                    extend(word * 64 + bits.trailing_zeros() as usize, at);
                    bits &= bits - 1;
                }
            }
        }
    }
    debug_assert!(pieces.last().is_none_or(|it| it.end == n_code));
    let unwritten = (0..n).filter(|it| has(&pieces[0].live_in, *it)).collect();
    (ranges, unwritten)
}

fn pieces(code: &Code) -> Vec<Piece> {
    let n = code.instructions.len();
    let mut begins = vec![false; n + 1];
    (begins[0], begins[n]) = (true, true);
    let targets = |step: Step| match step {
        Step::Branch(target) => vec![target as usize],
        Step::BranchTable(idx) => code.tables[idx as usize].iter().map(|it| *it as usize).collect(),
        _ => Vec::new(),
    };
    for (at, it) in code.instructions.iter().enumerate() {
        if matches!(it.step, Step::Branch(_) | Step::BranchTable(_) | Step::Exit) {
            begins[at + 1] = true;
            targets(it.step).into_iter().for_each(|it| begins[it] = true);
        }
    }
    let starts: Vec<usize> = (0..=n).filter(|it| begins[*it]).collect();
    let piece_of = |at: usize| starts.binary_search(&at).unwrap_or(0);
    starts
        .windows(2)
        .map(|it| {
            let (begin, end) = (it[0], it[1]);
            let last = code.instructions[end - 1];
            let leaves = matches!(last.step, Step::Branch(_) | Step::BranchTable(_) | Step::Exit)
                && last.guard == ALWAYS;
            let mut next: Vec<usize> = targets(last.step).into_iter().map(piece_of).collect();
            if !leaves && end < n {
                next.push(piece_of(end));
            }
            Piece { begin, end, next, used: Vec::new(), defined: Vec::new(), live_in: Vec::new() }
        })
        .collect()
}
