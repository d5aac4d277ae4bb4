//! The JSON of `/predict`: a prediction by class and by factor.

use base::task::Scope;
use infer::Prediction;
use serde::Serialize;

use crate::{batching::About, predicted::Predicted};

/// The response.
#[derive(Serialize)]
pub(crate) struct Response<'a> {
    model: &'a str,
    version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    images: Vec<Image<'a>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Image<'a> {
    Predicted(OfImage<'a>),
    Failed { name: &'a str, error: &'a str },
}

#[derive(Serialize)]
struct OfImage<'a> {
    name: &'a str,
    predicted: String,
    index: usize,
    probabilities: Vec<OfClass>,
    factors: Vec<OfFactor<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    number: Option<OfNumber<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    set: Option<Vec<String>>,
}

#[derive(Serialize)]
struct OfClass {
    class: String,
    probability: f64,
}

#[derive(Serialize)]
struct OfFactor<'a> {
    factor: &'a str,
    predicted: String,
    probabilities: Vec<OfClass>,
}

#[derive(Serialize)]
struct OfNumber<'a> {
    factor: &'a str,
    value: f64,
}

/// Returns the response of a request.
///
/// - `error`: that of the request, if no image has a prediction.
pub(crate) fn predicted<'a>(
    model: &'a str,
    predicted: &'a Predicted,
    error: Option<&'a str>,
) -> Response<'a> {
    let about = &predicted.by.about;
    let images = predicted.images.iter().map(|(name, result)| match result {
        Ok(it) => Image::Predicted(of_image(about, name, it)),
        Err(failure) => Image::Failed { name, error: failure.message() },
    });
    Response { model, version: &about.version, error, images: images.collect() }
}

fn of_image<'a>(about: &'a About, name: &'a str, it: &Prediction) -> OfImage<'a> {
    let task = &about.task;
    let of_classes = |scope: Scope, probabilities: &[f64]| {
        let of_class = |(class, &probability): (usize, &f64)| {
            let class = task.class_name(class, scope);
            OfClass { class, probability }
        };
        probabilities.iter().enumerate().map(of_class).collect()
    };
    let of_factor = |(idx, factor): (usize, &'a base::task::Factor)| {
        let scope = Scope::Factor(idx);
        OfFactor {
            factor: &factor.name,
            predicted: task.class_name(task.project(it.predicted, scope), scope),
            probabilities: of_classes(scope, &task.marginal(&it.probabilities, scope)),
        }
    };
    let number = about.number.as_ref().zip(it.number);
    OfImage {
        name,
        predicted: task.class_name(it.predicted, Scope::Joint),
        index: it.predicted,
        probabilities: of_classes(Scope::Joint, &it.probabilities),
        factors: task.factors.iter().enumerate().map(of_factor).collect(),
        number: number.map(|(factor, value)| OfNumber { factor, value }),
        set: it.set.as_ref().map(|set| {
            let mut set = set.clone();
            set.sort_by(|&a, &b| it.probabilities[b].total_cmp(&it.probabilities[a]));
            set.into_iter().map(|it| task.class_name(it, Scope::Joint)).collect()
        }),
    }
}

#[cfg(test)]
mod tests {
    use base::Task;
    use infer::Prediction;
    use serde_json::json;

    use super::{OfImage, of_image};
    use crate::batching::About;

    #[test]
    fn an_image_has_its_probabilities_by_class_and_by_factor() {
        let mut task = Task::mask_gender_age();
        task.factors.remove(1);
        let about = About {
            task,
            views: Vec::new(),
            pipelines: Vec::new(),
            number: Some("age".to_owned()),
            has_sets: true,
            max_pixels: 1,
            version: String::new(),
        };
        // mask x age; a decision may choose another class than the most probable one.
        let prediction = Prediction {
            probabilities: vec![0.5, 0.125, 0.0, 0.25, 0.125, 0.0, 0.0, 0.0, 0.0],
            predicted: 4,
            number: Some(29.5),
            members: Vec::new(),
            set: Some(vec![3, 0]),
        };
        let image: OfImage<'_> = of_image(&about, "a.jpg", &prediction);
        let got = serde_json::to_value(image).unwrap();
        assert_eq!(got["predicted"], "incorrect 30-59");
        assert_eq!(got["index"], 4);
        assert_eq!(got["probabilities"][3], json!({"class": "incorrect <30", "probability": 0.25}));
        assert_eq!(got["factors"][0]["factor"], "mask");
        assert_eq!(got["factors"][0]["predicted"], "incorrect");
        assert_eq!(
            got["factors"][1]["probabilities"],
            json!([
                {"class": "<30", "probability": 0.75},
                {"class": "30-59", "probability": 0.25},
                {"class": ">=60", "probability": 0.0},
            ])
        );
        assert_eq!(got["number"], json!({"factor": "age", "value": 29.5}));
        assert_eq!(got["set"], json!(["worn <30", "incorrect <30"]));
    }
}
