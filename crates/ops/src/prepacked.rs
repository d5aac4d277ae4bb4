//! Weights in the forms that the kernels read, kept between passes at inference.
//!
//! A weight is packed into panels, or transformed into Winograd's tiles, when an operation first reads it.
//! In training it changes with every step, and is packed anew each time; a network that only predicts packs
//! it once. The memory is that of the weights again (16/9 of it for tiles of 2x2, 4 times for tiles of 4x4).

use std::{
    any::Any,
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use candle::{Result, Tensor, TensorId, Var};

use crate::card::store::Card;

/// The packed weights of networks whose parameters do not change while it lives.
#[derive(Default)]
pub struct Prepacked {
    parameters: Mutex<HashMap<TensorId, (Tensor, Arc<Forms>)>>,
    card: Option<Card>,
}

/// The forms of one weight, or of other numbers: at most one of each type.
#[derive(Default)]
pub(crate) struct Forms(Mutex<Vec<Arc<dyn Any + Send + Sync>>>);

impl Prepacked {
    /// For passes on a card, which holds the parameters.
    pub fn on_card(card: &Card) -> Prepacked {
        Prepacked { card: Some(card.clone()), ..Prepacked::default() }
    }

    /// The card that passes run on.
    pub(crate) fn card(&self) -> Option<&Card> {
        self.card.as_ref()
    }

    /// The numbers of a parameter, and its forms.
    pub(crate) fn parameter(&self, var: &Var) -> (Tensor, Arc<Forms>) {
        let mut all = self.parameters.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || (var.as_detached_tensor(), Arc::default());
        all.entry(var.id()).or_insert_with(new).clone()
    }
}

impl Forms {
    /// The form of type `F`, which is made the first time.
    pub(crate) fn get<F: Any + Send + Sync>(
        &self,
        make: impl FnOnce() -> Result<F>,
    ) -> Result<Arc<F>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = all.iter().find_map(|it| Arc::clone(it).downcast::<F>().ok());
        if let Some(form) = known {
            return Ok(form);
        }
        let form = Arc::new(make()?);
        all.push(Arc::clone(&form) as Arc<dyn Any + Send + Sync>);
        Ok(form)
    }
}

#[cfg(test)]
mod tests {
    use candle::{Device, Result, Var};

    use super::Prepacked;

    #[test]
    fn each_form_of_a_weight_is_made_once() -> Result<()> {
        let [a, b] = [Var::new(1f32, &Device::Cpu)?, Var::new(2f32, &Device::Cpu)?];
        let packed = Prepacked::default();
        assert_eq!(*packed.parameter(&a).1.get(|| Ok(10u8))?, 10);
        assert_eq!(*packed.parameter(&a).1.get(|| Ok(20u16))?, 20);
        assert_eq!(*packed.parameter(&a).1.get::<u8>(|| unreachable!())?, 10);
        assert_eq!(*packed.parameter(&b).1.get(|| Ok(30u8))?, 30);
        Ok(())
    }
}
