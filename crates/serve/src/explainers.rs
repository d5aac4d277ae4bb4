//! The explainers of a model, on its thread: one for each member that was asked about, kept with its packed weights.

use std::{collections::BTreeMap, str::FromStr};

use augment::Image;
use explain::{ColourMap, ExplainError, Explainer, Method, Target};
use infer::Bundle;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// What is returned of an explanation, as an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Layer {
    /// The image in grey with the map over it.
    #[default]
    Overlay,
    /// The colours of the map.
    Map,
    /// What the network reads and the map belongs to: the image after the pipeline of the member.
    Image,
}

impl FromStr for Layer {
    type Err = String;

    fn from_str(name: &str) -> Result<Layer, String> {
        match name {
            "overlay" => Ok(Layer::Overlay),
            "map" => Ok(Layer::Map),
            "image" => Ok(Layer::Image),
            _ => Err(format!("`{name}` is not a layer: expected `overlay`, `map` or `image`")),
        }
    }
}

/// What a prediction is to be explained by, as a client asks for it.
#[derive(Clone)]
pub(crate) struct Question {
    pub(crate) member: usize,
    pub(crate) factor: Option<String>,
    pub(crate) target: Option<String>,
    pub(crate) method: Method,
    pub(crate) stage: Option<String>,
    pub(crate) layer: Layer,
}

/// An image to explain, as the pipeline of the member has made it.
pub(crate) struct Ask {
    pub(crate) image: Image,
    pub(crate) question: Question,
    pub(crate) reply: oneshot::Sender<Result<Image, ExplainError>>,
    /// Its place in the queue.
    pub(crate) place: OwnedSemaphorePermit,
}

/// The explainers of a bundle.
pub(crate) struct Explainers {
    bundle: Bundle,
    of_members: BTreeMap<usize, Explainer>,
}

impl Explainers {
    pub(crate) fn new(bundle: Bundle) -> Explainers {
        Explainers { bundle, of_members: BTreeMap::new() }
    }

    /// Returns a layer of the explanation of an image.
    ///
    /// # Errors
    /// A member, factor, class or stage that there is not, or an output that is not finite.
    pub(crate) fn explain(
        &mut self,
        image: Image,
        question: &Question,
    ) -> Result<Image, ExplainError> {
        let Question { member, factor, target, method, stage, layer } = question;
        if !self.of_members.contains_key(member) {
            self.of_members.insert(*member, Explainer::new(&self.bundle, *member)?);
        }
        let n = self.bundle.members.len();
        let no_member = ExplainError::NoMember { member: *member, n };
        let explainer = self.of_members.get(member).ok_or(no_member)?;
        let target = Target::parse(explainer.task(), factor.as_deref(), target.as_deref())?;
        let found = explainer.explain_image(image, &target, *method, stage.as_deref())?;
        Ok(match layer {
            Layer::Overlay => found.overlay(ColourMap::Viridis, 0.5),
            Layer::Map => found.overlay(ColourMap::Viridis, 1.0),
            Layer::Image => found.image,
        })
    }
}
