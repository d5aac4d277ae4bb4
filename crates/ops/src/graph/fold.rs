//! Folds norms, biases and layer scales into the convolution or linear layer before them.
//!
//! scale·(W x + b) + shift = (scale·W) x + (scale·b + shift), where nothing else reads W x + b. Computed in `f64`,
//! and rounded once.

use candle::{DType, Result, Tensor};

use super::{Graph, Node, Op, Weight};

impl Graph {
    /// Returns the graph with every [`Op::Affine`] folded that can be, and without operations that no output
    /// depends on.
    ///
    /// # Errors
    /// Tensor errors only.
    pub fn folded(self) -> Result<Graph> {
        let Graph { nodes, mut outputs } = self;
        let mut n_readers = vec![0; nodes.len()];
        outputs.iter().for_each(|it| n_readers[it.numbers] += 1);
        for idx in (0..nodes.len()).rev() {
            if n_readers[idx] > 0 {
                nodes[idx].inputs.iter().for_each(|&it| n_readers[it] += 1);
            }
        }
        let (mut kept, mut places): (Vec<Node>, Vec<usize>) = (Vec::new(), Vec::new());
        for (mut node, &n) in nodes.into_iter().zip(&n_readers) {
            if n == 0 && node.op != Op::Input {
                // Nobody reads its place.
                places.push(usize::MAX);
                continue;
            }
            if let (Op::Affine { scale, shift }, &[from]) = (&node.op, &node.inputs[..])
                && n_readers[from] == 1
                && let Op::Conv { weight, bias, .. } | Op::Linear { weight, bias } =
                    &mut kept[places[from]].op
            {
                fold(weight, bias, scale, shift)?;
                places.push(places[from]);
                continue;
            }
            node.inputs.iter_mut().for_each(|it| *it = places[*it]);
            places.push(kept.len());
            kept.push(node);
        }
        outputs.iter_mut().for_each(|it| it.numbers = places[it.numbers]);
        Ok(Graph { nodes: kept, outputs })
    }
}

/// Scales the rows of a weight, and its bias, and adds a shift to that.
fn fold(
    weight: &mut Weight,
    bias: &mut Option<Weight>,
    scale: &[f64],
    shift: &[f64],
) -> Result<()> {
    let list = |it: &Tensor| it.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>();
    let tensor = weight.tensor.clone();
    let (dtype, device) = (tensor.dtype(), tensor.device());
    let mut rows = list(&tensor)?;
    let width = (rows.len() / scale.len().max(1)).max(1);
    for (row, scale) in rows.chunks_exact_mut(width).zip(scale) {
        row.iter_mut().for_each(|it| *it *= scale);
    }
    weight.tensor = Tensor::from_vec(rows, tensor.dims(), device)?.to_dtype(dtype)?;
    weight.id = None;
    let before = bias.as_ref().map(|it| list(&it.tensor)).transpose()?;
    let sums = shift.iter().zip(scale).enumerate();
    let sums = sums.map(|(idx, (shift, scale))| {
        shift + before.as_ref().map_or(0.0, |it| it.get(idx).copied().unwrap_or(0.0) * scale)
    });
    let sums: Vec<f64> = sums.collect();
    if bias.is_none() && sums.iter().all(|it| *it == 0.0) {
        return Ok(());
    }
    let numbers = Tensor::from_vec(sums, scale.len(), device)?.to_dtype(dtype)?;
    let name = bias.take().and_then(|it| it.name);
    *bias = Some(Weight { name, tensor: numbers, id: None });
    Ok(())
}
