//! Arithmetic on rows of numbers, `[batch, number]`, as nodes of a graph.

use crate::{
    builder::{Attr, GraphBuilder},
    proto::DataType,
};

impl GraphBuilder {
    /// Adds an operator without attributes, such as `Add`, and returns the name of its result.
    pub(crate) fn call(&mut self, op: &str, inputs: &[&str]) -> String {
        self.node(&op.to_lowercase(), op, inputs, &[])
    }

    /// x·factor.
    pub(crate) fn times(&mut self, xs: &str, factor: f64) -> String {
        if factor == 1.0 {
            return xs.to_owned();
        }
        let factor = self.float(factor as f32);
        self.call("Mul", &[xs, &factor])
    }

    /// Each column of x times its factor.
    pub(crate) fn times_row(&mut self, xs: &str, factors: &[f64]) -> String {
        let factors = self.row(factors);
        self.call("Mul", &[xs, &factors])
    }

    /// A constant row, `[1, number]`.
    pub(crate) fn row(&mut self, numbers: &[f64]) -> String {
        let numbers: Vec<f32> = numbers.iter().map(|it| *it as f32).collect();
        self.floats("row", &[1, numbers.len()], &numbers)
    }

    /// A row of integers, `[number]`.
    pub(crate) fn indices(&mut self, numbers: impl Iterator<Item = usize>) -> String {
        let numbers: Vec<i64> = numbers.map(|it| it as i64).collect();
        self.ints(&numbers)
    }

    /// The product with a constant matrix: `[batch, rows]` to `[batch, columns]`.
    ///
    /// - `at`: the number of a row and a column.
    pub(crate) fn product(
        &mut self,
        xs: &str,
        [n_rows, n_cols]: [usize; 2],
        at: impl Fn(usize, usize) -> f64,
    ) -> String {
        let places = (0..n_rows).flat_map(|row| (0..n_cols).map(move |col| (row, col)));
        let numbers: Vec<f32> = places.map(|(row, col)| at(row, col) as f32).collect();
        let matrix = self.floats("matrix", &[n_rows, n_cols], &numbers);
        self.call("MatMul", &[xs, &matrix])
    }

    /// The columns with these indices, in this order.
    pub(crate) fn columns(&mut self, xs: &str, indices: impl Iterator<Item = usize>) -> String {
        let indices = self.indices(indices);
        self.node("columns", "Gather", &[xs, &indices], &[("axis", Attr::Int(1))])
    }

    /// The sum of each row, `[batch, 1]`.
    pub(crate) fn sums(&mut self, xs: &str) -> String {
        let axes = self.ints(&[1]);
        self.node("sums", "ReduceSum", &[xs, &axes], &[("keepdims", Attr::Int(1))])
    }

    /// Each row divided by its sum.
    pub(crate) fn normalised(&mut self, xs: &str) -> String {
        let sums = self.sums(xs);
        self.call("Div", &[xs, &sums])
    }

    /// The softmax of each row.
    pub(crate) fn softmax(&mut self, xs: &str) -> String {
        self.node("softmax", "Softmax", &[xs], &[("axis", Attr::Int(1))])
    }

    /// x where it is at least `least`, else `least`.
    pub(crate) fn at_least(&mut self, xs: &str, least: f64) -> String {
        let least = self.float(least as f32);
        self.call("Max", &[xs, &least])
    }

    /// The weighted sum of values of one shape, at least one.
    pub(crate) fn weighted(&mut self, values: &[(f64, String)]) -> String {
        let mut total: Option<String> = None;
        for (weight, value) in values {
            let value = self.times(value, *weight);
            total = Some(match total {
                Some(total) => self.call("Add", &[&total, &value]),
                None => value,
            });
        }
        total.unwrap_or_default()
    }

    /// The index of the largest number of each row, the first of equals, `[batch, 1]`.
    pub(crate) fn largest(&mut self, xs: &str) -> String {
        let attrs = [("axis", Attr::Int(1)), ("keepdims", Attr::Int(1))];
        self.node("largest", "ArgMax", &[xs], &attrs)
    }

    /// Whether each of `n` columns is the one with the index of its row, `[batch, n]`.
    ///
    /// - `index`: `[batch, 1]`.
    pub(crate) fn is_column(&mut self, index: &str, n: usize) -> String {
        let all = self.indices(0..n);
        self.call("Equal", &[index, &all])
    }

    /// 1 where a condition is true, else 0.
    pub(crate) fn as_floats(&mut self, condition: &str) -> String {
        let attrs = [("to", Attr::Int(DataType::Float as i64))];
        self.node("ones", "Cast", &[condition], &attrs)
    }

    /// The number of columns that are true of each row, `[batch, 1]`, as integers.
    pub(crate) fn count(&mut self, conditions: &str) -> String {
        let ones = self.as_floats(conditions);
        let sums = self.sums(&ones);
        self.node("count", "Cast", &[&sums], &[("to", Attr::Int(DataType::Int64 as i64))])
    }
}
