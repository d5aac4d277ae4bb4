use testkit::numbers;

use super::{DEEP, End, Layout, Left, Panels, Right, Rows, multiply, padded};

#[test]
fn agrees_with_the_definition_at_every_tile_size() {
    for (m, n, k) in
        [(1, 1, 1), (8, 48, 7), (9, 49, 3), (17, 64, 133), (5, 130, 2), (31, 24, 6), (101, 130, 5)]
    {
        let (a, b) = (numbers("a", m * k), numbers("b", k * n));
        let wide = padded(n);
        let mut rows = vec![0.0; k * wide];
        for (row, from) in rows.chunks_mut(wide).zip(b.chunks(n)) {
            row[..n].copy_from_slice(from);
        }
        let at = |i: usize, j: usize| (0..k).map(|p| a[i * k + p] * b[p * n + j]).sum::<f64>();
        let transposed: Vec<f64> =
            (0..k).flat_map(|p| (0..m).map(move |i| (i, p))).map(|(i, p)| a[i * k + p]).collect();
        let panels = Panels::of_rows(k, n, |row| &b[row * n..][..n]);
        let b_t: Vec<f64> =
            (0..n).flat_map(|j| (0..k).map(move |p| (p, j))).map(|(p, j)| b[p * n + j]).collect();
        let columns = Panels::of_columns(k, n, &b_t);
        let rights = [panels.right(), columns.right(), Right::new(&rows, k, n, Layout::rows(wide))];
        let lefts = [Left::rows(&a, m, k, k), Left::columns(&transposed, m, k, m, &[0])];
        for (left, right) in lefts.iter().flat_map(|l| rights.map(|r| (l, r))) {
            let mut c = vec![1.0; m * (n + 2)];
            multiply(*left, right, &mut c[..], Rows::Apart(n + 2), End::Store);
            multiply(*left, right, &mut c[..], Rows::Apart(n + 2), End::Add);
            for (i, row) in c.chunks(n + 2).enumerate() {
                for (j, &got) in row[..n].iter().enumerate() {
                    assert!((got - 2.0 * at(i, j)).abs() < 1e-12, "{m}x{n}x{k}: {i}, {j}");
                }
                assert_eq!(row[n..], [1.0, 1.0], "numbers outside of the result were written");
            }
        }
    }
}

/// Three pieces, each for all rows.
#[test]
fn a_deep_product_agrees_with_the_definition() {
    let (m, n, piece) = (17, 50, DEEP / 3 + 1);
    let k = 3 * piece;
    let (a, b) = (numbers("a", m * k), numbers("b", k * n));
    let panels = Panels::of_rows(k, n, |row| &b[row * n..][..n]);
    let begin: Vec<usize> = (0..m).map(|row| row * k).collect();
    let pieces = [0, piece, 2 * piece];
    let a_pieces = Left::scattered(&a, (Rows::At(&begin), m), piece, &pieces);
    let b_pieces = pieces.map(|row| panels.row(row));
    for (end, times) in [(End::Store, 1.0), (End::Add, 2.0)] {
        let mut c = vec![1.0; m * n];
        let right = panels.right().pieces(piece, &b_pieces);
        multiply(a_pieces, right, &mut c[..], Rows::Apart(n), End::Store);
        if let End::Add = end {
            multiply(a_pieces, right, &mut c[..], Rows::Apart(n), end);
        }
        for (idx, got) in c.into_iter().enumerate() {
            let (i, j) = (idx / n, idx % n);
            let want: f64 = (0..k).map(|p| a[i * k + p] * b[p * n + j]).sum();
            assert!((got - times * want).abs() < 1e-10, "{i}, {j}: {got}, not {want}");
        }
    }
}
