//! Several pipelines on one image, which is decoded once.

use base::Rng;

use crate::{
    Cache, Canvas, DecodeError, Image, Pipeline, PipelineError, cache::Memory, decode::Encoded,
    shared::Shared,
};

/// Applies each pipeline with its random stream to an image; the results are those of [`Pipeline::apply`].
///
/// # Errors
/// As [`Pipeline::apply`].
pub(crate) fn apply_all(
    runs: &[(&Pipeline, Rng)],
    bytes: &[u8],
    cache: Option<&dyn Cache>,
) -> Result<Vec<Image>, PipelineError> {
    let Some(max_pixels) = runs.iter().map(|it| it.0.max_pixels).min() else {
        return Ok(Vec::new());
    };
    if let [(pipeline, rng)] = runs {
        return Ok(vec![pipeline.apply(bytes, &mut rng.clone(), cache)?]);
    }
    let shared = Shared::new(Encoded::open(bytes, max_pixels)?);
    // Without a cache, the face would be searched for each of them.
    let cache = Memory::over(cache);
    let mut images: Vec<Option<Image>> = vec![None; runs.len()];
    loop {
        for ((pipeline, rng), image) in runs.iter().zip(&mut images).filter(|it| it.1.is_none()) {
            let canvas = Canvas::shared(&shared).with_cache(&cache);
            match pipeline.apply_to(canvas, &mut rng.clone()) {
                Err(PipelineError::Decode(DecodeError::Deferred)) => {}
                made => *image = Some(made?),
            }
        }
        if !shared.decode_wanted()? {
            return Ok(images.into_iter().flatten().collect());
        }
    }
}

#[cfg(test)]
mod tests;
