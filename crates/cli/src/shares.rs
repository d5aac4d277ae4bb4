//! The class shares that a sampler produces, printed before training.

use trainer::Plan;
use unicode_width::UnicodeWidthStr as _;

use crate::{
    tables::{Counted, counted},
    wrap::{WIDTH, cut, padded},
};

/// Maximum width of the name of a class.
const NAME: usize = 30;
/// Space before a cell.
const GAP: usize = 3;

/// Formats the share of each class in the training set, in the first epoch and, if epochs differ, in the last
/// one (of the first phase); `None` for the sampler `shuffled`, which uses every image once.
pub(crate) fn shares(plan: &Plan) -> Option<String> {
    let sampler = &plan.experiment.data.sampler;
    if sampler.kind() == "shuffled" {
        return None;
    }
    let phase = &plan.phases[0];
    let last = phase.span.epochs.n_begun() - 1;
    let n_samples = |epoch_idx| sampler.get().n_samples(&phase.by_class, epoch_idx);
    let is_changing = n_samples(0) != n_samples(last);
    let mut columns = vec![phase.by_class.counts().collect(), plan.class_counts(0)];
    let n = |counts: &[usize]| counts.iter().sum::<usize>();
    let mut title = format!(
        "sampler: {}, class shares by {} in %:\n{:GAP$}data -> first epoch ({} images)",
        sampler.kind(),
        sampler.get().over(),
        "",
        n(&columns[1])
    );
    if is_changing {
        columns.push(plan.class_counts(last));
        title += &format!(" -> last epoch ({})", n(&columns[2]));
    }
    let names: Vec<String> = phase.by_class.names.iter().map(|it| cut(it, NAME)).collect();
    let width = names.iter().map(|it| it.width()).max().unwrap_or(0);
    let cell = |row: Counted| {
        let class = match row {
            Counted::Class(class) => class,
            Counted::Between { n, .. } => return format!("... {n} more"),
        };
        let share = |it: &Vec<usize>| 100.0 * it[class] as f64 / n(it).max(1) as f64;
        let shares: Vec<String> = columns.iter().map(|it| format!("{:>4.1}", share(it))).collect();
        format!("{} {}", padded(&names[class], width), shares.join(" -> "))
    };
    let cells: Vec<String> = counted(&columns[0]).into_iter().map(cell).collect();
    Some(format!("{title}\n{}", in_columns(&cells)))
}

/// Lays out cells in as many columns as fit, in column-major order.
fn in_columns(cells: &[String]) -> String {
    let width = cells.iter().map(|it| it.width()).max().unwrap_or(0);
    let n_columns = (WIDTH / (GAP + width)).max(1);
    let n_rows = cells.len().div_ceil(n_columns);
    let row = |row: usize| {
        let cells = cells.iter().skip(row).step_by(n_rows.max(1));
        let line: String = cells.map(|it| " ".repeat(GAP) + &padded(it, width)).collect();
        line.trim_end().to_owned()
    };
    (0..n_rows).map(row).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::in_columns;

    #[test]
    fn cells_are_laid_out_in_column_major_order() {
        let cells: Vec<String> = (0..5).map(|it| format!("{it:>30}")).collect();
        let rows = in_columns(&cells);
        assert!(rows.lines().all(|it| it.len() <= 80), "{rows}");
        let rows: Vec<Vec<&str>> = rows.lines().map(|it| it.split_whitespace().collect()).collect();
        assert_eq!(rows, [vec!["0", "3"], vec!["1", "4"], vec!["2"]]);
        assert_eq!(in_columns(&[]), "");
    }
}
