//! Text within the width of a terminal: padded, cut, wrapped, and in columns.

use std::iter;

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Width of a terminal, at least.
pub(crate) const WIDTH: usize = 80;

/// Minimum width of a column of text whose words are broken.
const NARROW: usize = 10;
/// Spaces between columns.
const GAP: usize = 2;

/// Formats rows as a table of at most [`WIDTH`] columns; a cell may have several lines.
///
/// Columns are as wide as their widest cell. If the table is too wide, cells are wrapped: of the widest columns
/// of text first, between words and, if that is not enough, within them, and then of columns of numbers.
///
/// - `right`: whether each column is right-aligned, as numbers are.
pub(crate) fn columns<const N: usize>(rows: &[[String; N]], right: &[bool; N]) -> String {
    in_columns(WIDTH, rows, right).join("\n")
}

/// As [`columns`], with at most `most` columns of the terminal; returns the text of each row.
pub(crate) fn in_columns<const N: usize>(
    most: usize,
    rows: &[[String; N]],
    right: &[bool; N],
) -> Vec<String> {
    let widths = widths(most, rows, right);
    let row = |row: &[String; N]| {
        let cells: [Vec<String>; N] = std::array::from_fn(|idx| in_lines(&row[idx], widths[idx]));
        let line = |at: usize| {
            let cell = |idx: usize| {
                let text = cells[idx].get(at).map_or("", String::as_str);
                match right[idx] {
                    true => " ".repeat(widths[idx].saturating_sub(text.width())) + text,
                    false => padded(text, widths[idx]),
                }
            };
            let cells: Vec<String> = (0..N).map(cell).collect();
            cells.join(&" ".repeat(GAP)).trim_end().to_owned()
        };
        let n_lines = cells.iter().map(Vec::len).max().unwrap_or(0);
        (0..n_lines).map(line).collect::<Vec<_>>().join("\n")
    };
    rows.iter().map(row).collect()
}

/// Returns the width of each column.
fn widths<const N: usize>(most: usize, rows: &[[String; N]], right: &[bool; N]) -> [usize; N] {
    let widest = |parts: fn(&str) -> Vec<&str>| -> [usize; N] {
        std::array::from_fn(|idx| {
            let cells = rows.iter().flat_map(|it| parts(&it[idx]));
            cells.map(|it| it.width()).max().unwrap_or(0)
        })
    };
    let mut widths = widest(|cell| cell.split('\n').collect());
    let words = widest(|cell| cell.split_whitespace().collect());
    let last = widths.iter().rposition(|it| *it > 0).unwrap_or(0);
    let steps: [(bool, [usize; N]); 3] =
        [(false, words.map(|it| it.max(NARROW))), (false, [NARROW; N]), (true, words)];
    for (is_right, least) in steps {
        while widths.iter().sum::<usize>() + GAP * last > most {
            let wider = (0..N).filter(|&it| right[it] == is_right && widths[it] > least[it]);
            // Of equal ones the last.
            let Some(widest) = wider.max_by_key(|&it| widths[it]) else { break };
            widths[widest] -= 1;
        }
    }
    widths
}

/// Returns the lines of a cell.
fn in_lines(cell: &str, width: usize) -> Vec<String> {
    let line = |line: &str| {
        let words: Vec<&str> = line.split_inclusive(' ').collect();
        broken("", "", &words, width, true)
    };
    cell.split('\n').flat_map(line).collect()
}

/// Wraps text between words into lines of at most [`WIDTH`] columns. The lines after the first are indented by
/// the width of the label. What is in back-ticks, such as a command to paste, is not broken, nor is a word.
pub(crate) fn wrapped(label: &str, text: &str) -> String {
    let indent = " ".repeat(label.width());
    broken(label, &indent, &words(text), WIDTH, false).join("\n")
}

/// Wraps each line of a message. The lines that follow a note's first are indented below its text, those of
/// other messages by two.
pub(crate) fn wrapped_message(text: &str) -> String {
    let line = |line: &str| {
        // Text with colours is a table, or the title of one.
        if line.width() <= WIDTH || line.contains('\u{1b}') {
            return line.to_owned();
        }
        let text = line.trim_start();
        let n_spaces = line.len() - text.len();
        let n = n_spaces + if text.starts_with("note: ") { "note: ".len() } else { 2 };
        let (spaces, indent) = (" ".repeat(n_spaces), " ".repeat(n));
        broken(&spaces, &indent, &words(text), WIDTH, false).join("\n")
    };
    text.split('\n').map(line).collect::<Vec<_>>().join("\n")
}

/// Breaks text after commas into lines of at most [`WIDTH`] columns; the lines after the first are indented by
/// the width of the label.
pub(crate) fn fold(label: &str, text: &str) -> String {
    let parts: Vec<&str> = text.split_inclusive(", ").collect();
    broken(label, &" ".repeat(label.width()), &parts, WIDTH, false).join("\n")
}

/// Puts parts of a text into lines.
///
/// - `label`, `indent`: what the first line and the others begin with.
/// - `breaks`: whether a part that is wider than a line is broken.
fn broken(label: &str, indent: &str, parts: &[&str], width: usize, breaks: bool) -> Vec<String> {
    let (mut lines, mut line, mut is_first) = (Vec::new(), label.to_owned(), true);
    for part in parts {
        if !is_first && line.width() + part.trim_end().width() > width {
            lines.push(line.trim_end().to_owned());
            line = indent.to_owned();
        }
        let mut rest = *part;
        while breaks && line.width() + rest.trim_end().width() > width {
            let (head, tail) = rest.split_at(break_of(rest, width.saturating_sub(line.width())));
            lines.push(line + head);
            (line, rest) = (indent.to_owned(), tail);
        }
        line += rest;
        is_first &= part.trim().is_empty();
    }
    lines.push(line.trim_end().to_owned());
    lines
}

/// Returns the number of bytes of a word that fit into a line: up to the last punctuation in its second half, if
/// there is one.
fn break_of(word: &str, width: usize) -> usize {
    let (mut fitting, mut after, mut taken) = (0, 0, 0);
    for (at, letter) in word.char_indices() {
        taken += letter.width().unwrap_or(0);
        if taken > width {
            break;
        }
        fitting = at + letter.len_utf8();
        if "/_-,.=".contains(letter) && 2 * taken > width {
            after = fitting;
        }
    }
    match (after, fitting) {
        // A letter may be wider than the line.
        (0, 0) => word.chars().next().map_or(0, char::len_utf8),
        (0, fitting) => fitting,
        (after, _) => after,
    }
}

/// Splits text after its spaces, except within back-ticks.
fn words(text: &str) -> Vec<&str> {
    let (mut words, mut begin, mut is_quoted) = (Vec::new(), 0, false);
    for (at, letter) in text.char_indices() {
        let end = at + letter.len_utf8();
        if letter == '`' {
            is_quoted = !is_quoted && text[end..].contains('`');
        } else if letter == ' ' && !is_quoted && !text[end..].starts_with(' ') {
            words.push(&text[begin..end]);
            begin = end;
        }
    }
    words.extend(iter::once(&text[begin..]).filter(|it| !it.is_empty()));
    words
}

/// Pads text with spaces at the end to a width in columns of a terminal.
pub(crate) fn padded(text: &str, width: usize) -> String {
    text.to_owned() + &" ".repeat(width.saturating_sub(text.width()))
}

/// Cuts text to a width in columns of a terminal; `…` replaces what is cut off.
pub(crate) fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let (mut short, mut taken) = (String::new(), 1);
    for letter in text.chars() {
        taken += letter.width().unwrap_or(0);
        if taken > width {
            break;
        }
        short.push(letter);
    }
    short + "…"
}

#[cfg(test)]
mod tests {
    use unicode_width::UnicodeWidthStr as _;

    use super::{WIDTH, columns, cut, fold, in_columns, wrapped, wrapped_message};

    #[test]
    fn text_is_broken_after_commas() {
        assert_eq!(fold("plan:  ", "2 epochs, 10 steps"), "plan:  2 epochs, 10 steps");
        let text = ["a".repeat(40), "b".repeat(31), "c".repeat(90), "d".to_owned()].join(", ");
        let [a, b, c] = [("a", 40), ("b", 31), ("c", 90)].map(|it| it.0.repeat(it.1));
        assert_eq!(fold("to: ", &text), format!("to: {a}, {b},\n    {c},\n    d"));
        let text = text.replacen('b', "bb", 5);
        assert!(fold("to: ", &text).starts_with(&format!("to: {a},\n    bbbbb")));
    }

    #[test]
    fn names_are_cut_by_their_width() {
        assert_eq!(cut("worn male <30", 13), "worn male <30");
        assert_eq!(cut("worn male <30", 12), "worn male <…");
        // A letter of Hangul takes two columns.
        assert_eq!(cut("마스크 미착용", 13), "마스크 미착용");
        assert_eq!(cut("마스크 미착용", 12), "마스크 미착…");
        assert_eq!(cut("마스크 미착용", 11), "마스크 미…");
    }

    #[test]
    fn notes_are_wrapped_between_words_but_not_within_back_ticks() {
        let text = "runs/a: 3 images have other labels; to resume it with them, use \
                    `maskfit train --resume runs/a --allow-changes`, or restore the data";
        let note = wrapped("note: ", text);
        assert_eq!(
            note,
            "note: runs/a: 3 images have other labels; to resume it with them, use\n      \
             `maskfit train --resume runs/a --allow-changes`, or restore the data"
        );
        // A message is wrapped like this, and what is wrapped stays as it is.
        assert_eq!(wrapped_message(&format!("note: {text}")), note);
        assert_eq!(wrapped_message(&note), note);
        // Without a label; an aligned line that fits, and colours, stay.
        let long = format!("data:  training set    8 images\n  {}", "images ".repeat(20));
        let text = wrapped_message(&long);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!((lines.len(), lines[0]), (3, "data:  training set    8 images"));
        assert!(lines[1].starts_with("  images") && lines[2].starts_with("    images"), "{text}");
        let painted = format!("\u{1b}[1m{}\u{1b}[0m", "class ".repeat(20));
        assert_eq!(wrapped_message(&painted), painted);
    }

    #[test]
    fn a_table_that_is_too_wide_wraps_its_widest_text() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned);
        let rows = [
            row(["file", "images", "problem"]),
            row(["a.png", "12", "a crop of 64x64 exceeds the image of 32x32"]),
            row(["b.png", "7", ""]),
        ];
        let right = [false, true, false];
        assert_eq!(columns(&rows, &right).lines().count(), 3);
        expect_test::expect![[r#"
            file   images  problem
            a.png      12  a crop of 64x64
                           exceeds the image
                           of 32x32
            b.png       7"#]]
        .assert_eq(&in_columns(34, &rows, &right).join("\n"));
    }

    #[test]
    fn words_are_broken_only_if_nothing_else_helps_and_numbers_never() {
        let names = ["000001_female_Drawn_23/incorrect_mask.jpg", "000002_male_Drawn_20/mask1.jpg"];
        let cells = |it| [it, it, "identical file", "0.1234\n[0.123, 0.123]"].map(str::to_owned);
        let rows: Vec<[String; 4]> = names.into_iter().map(cells).collect();
        let text = columns(&rows, &[false, false, false, true]);
        assert!(text.lines().all(|it| it.width() <= WIDTH), "{text}");
        assert!(text.lines().any(|it| it.ends_with("  0.1234")), "{text}");
        assert!(text.lines().any(|it| it.ends_with("  [0.123, 0.123]")), "{text}");
        // Every letter is still there.
        let letters = |text: &str| text.chars().filter(|it| !it.is_whitespace()).count();
        assert_eq!(letters(&text), rows.iter().flatten().map(|it| letters(it)).sum::<usize>());
        // What cannot be narrower is as wide as it is.
        let numbers = [["1".repeat(50), "2".repeat(50)]];
        assert_eq!(columns(&numbers, &[true; 2]).width(), 102);
        let wide = [["마스크".repeat(30)]];
        assert!(columns(&wide, &[false]).lines().all(|it| it.width() <= WIDTH));
    }
}
