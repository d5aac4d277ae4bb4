//! The page is well-formed, complete, readable without colour or images, and reads nothing else.

use std::collections::BTreeSet;

use roxmltree::{Document, Node, ParsingOptions};

use super::{HEAD, count, data_uri, html, is_page, percent, short, ticked, upper_first};
use crate::contents::{
    AttributeScores, ClassCalibration, ClassCount, ClassCounts, ClassRow, ClassTable, Compared,
    ComparedRun, ComparedScope, ConfusedPair, ConfusionMatrix, Contents, Curve, CurvePoint,
    DataFacts, Estimate, FactorError, FactorLabels, GapTest, Histogram, LabelError, LabelErrors,
    MapShown, ModelScores, PairCount, ReliabilityBin, ReliabilityOf, RunReport, ScopeScores,
    SetFacts, Setting, Setup, Shown, SizeCount, TestScope, TestScores, ValueScores,
};

const SECTIONS: [&str; 13] = [
    "verdict",
    "curves",
    "confusion",
    "classes",
    "losses",
    "pairs",
    "uncertain",
    "reliability",
    "groups",
    "labels",
    "maps",
    "data",
    "setup",
];

/// A name that ends an element, an attribute and an entity.
const EVIL: &str = "</table><script>alert('&\"')</script>";

fn estimate(value: f64) -> Estimate {
    Estimate { value: Some(value), low: Some(value - 0.05), high: Some(value + 0.05) }
}

/// Returns contents with something in every place: `n_images` images of each list, of about 8 KB each.
fn contents(classes: &[String], n_images: usize) -> Contents {
    let class = |at: usize| classes[at % classes.len()].clone();
    let image = || Some(format!("data:image/jpeg;base64,{}", "/9j/".repeat(2000)));
    let shown = |at: usize| Shown {
        name: format!("{}/{at}.jpg", class(at)),
        actual: class(at),
        predicted: class(at + 1),
        is_correct: at.is_multiple_of(3),
        probability: 0.75,
        probability_of_actual: 0.125,
        loss: (at > 0).then_some(2.079),
        image: image().filter(|_| at != 1),
    };
    let all = |n: usize| (0..n).map(shown).collect::<Vec<Shown>>();
    let pair = || PairCount {
        actual: class(0),
        predicted: class(1),
        n_images: 3,
        of_class: 0.3,
        of_errors: 0.6,
    };
    let score = |name: &str| ScopeScores {
        name: name.to_owned(),
        n_classes: classes.len(),
        macro_f1: estimate(0.8125),
        accuracy: estimate(0.9),
        k: 2,
        log_loss: Some(0.5),
        ..ScopeScores::default()
    };
    let model = |at: f64| ModelScores { macro_f1: estimate(at), accuracy: estimate(0.9) };
    let test_scope =
        |name: &str| TestScope { name: name.to_owned(), ensemble: model(0.75), folds: model(0.5) };
    let n = classes.len();
    let row = |at: usize| (0..n).map(move |to| if at == to { 30 } else { usize::from(to < at) });
    let matrix = |name: &str| ConfusionMatrix {
        name: name.to_owned(),
        classes: classes.to_vec(),
        counts: if n > 40 { Vec::new() } else { (0..n).map(|it| row(it).collect()).collect() },
        pairs: vec![pair()],
        n_pairs: 5,
    };
    let class_row = |at: usize| ClassRow {
        name: class(at),
        precision: estimate(0.5),
        f1: Estimate { value: Some(f64::NAN), ..Estimate::default() },
        n_images: 20_000,
        n_groups: 7,
        ..ClassRow::default()
    };
    let point = |at: usize| CurvePoint {
        step: at,
        epoch: at as f64,
        train_loss: Some(1.0 / (at + 1) as f64),
        valid_loss: Some(2.0 / (at + 1) as f64),
        macro_f1: Some(0.1 * at as f64),
        is_best: true,
        ..CurvePoint::default()
    };
    let bin = |at: usize| ReliabilityBin {
        low: at as f64 / 15.0,
        high: (at + 1) as f64 / 15.0,
        n_images: at * 10,
        confidence: (at as f64 + 0.5) / 15.0,
        accuracy: at as f64 / 15.0,
    };
    let value = |at: usize| ValueScores {
        value: (at < 10).then(|| class(at)),
        n_values: if at < 10 { 1 } else { 12 },
        n_images: 100,
        n_groups: 10,
        error_rate: estimate(0.1),
        factor_errors: vec![FactorError { factor: EVIL.to_owned(), error_rate: None }],
        ..ValueScores::default()
    };
    let label = |at: usize| LabelError {
        factor: class(at),
        group: class(at),
        image_name: class(at),
        n_images: at,
        given: class(at),
        suggested: class(at + 1),
        probability: 0.97,
        score: 0.01,
        image: image(),
    };
    let run = RunReport {
        name: EVIL.to_owned(),
        kind: "run".to_owned(),
        set: "test set".to_owned(),
        verdict: vec!["First.".to_owned(), EVIL.to_owned()],
        notes: vec![EVIL.to_owned()],
        scores: vec![score("joint"), score(EVIL)],
        test: Some(TestScores {
            n_images: 21,
            n_groups: 3,
            n_folds: 5,
            has_ensemble: true,
            scopes: ["joint", EVIL].map(test_scope).to_vec(),
        }),
        curves: vec![Curve {
            name: String::new(),
            metric: "macro F1".to_owned(),
            points: (0..9).map(point).collect(),
        }],
        confusions: vec![matrix("joint"), matrix(EVIL)],
        classes: vec![ClassTable {
            name: "joint".to_owned(),
            rows: (0..n.min(40)).map(class_row).collect(),
            n_classes: n,
            n_absent: 0,
        }],
        top_losses: all(n_images),
        confused: vec![ConfusedPair { pair: pair(), wrong: all(3), right: all(3) }; 6],
        least_certain: all(n_images / 2),
        reliability: vec![ReliabilityOf {
            name: "joint".to_owned(),
            ece: estimate(0.06),
            bins: (0..15).map(bin).collect(),
            classes: (0..n.min(40))
                .map(|it| ClassCalibration { name: class(it), ..ClassCalibration::default() })
                .collect(),
        }],
        attributes: vec![AttributeScores {
            name: EVIL.to_owned(),
            is_factor: false,
            values: (0..11).map(value).collect(),
            gap: Some(GapTest {
                lowest: class(0),
                highest: class(1),
                difference: estimate(0.2),
                p: Some(0.0004),
                test: EVIL.to_owned(),
            }),
        }],
        labels: LabelErrors {
            factors: vec![FactorLabels { factor: EVIL.to_owned(), n_labels: 20, n_errors: 1 }],
            rows: (0..n_images).map(label).collect(),
        },
        maps: (0..n_images / 2)
            .map(|at| MapShown {
                shown: shown(at),
                target: class(at),
                overlay: image().unwrap_or_default(),
            })
            .collect(),
        maps_of: EVIL.to_owned(),
        data: DataFacts {
            unit: "person".to_owned(),
            units: "people".to_owned(),
            sets: vec![SetFacts { name: EVIL.to_owned(), n_images: 20_000, n_groups: 4 }],
            classes: vec![ClassCounts {
                name: "joint".to_owned(),
                rows: (0..n.min(40))
                    .map(|it| ClassCount { name: class(it), counts: vec![it] })
                    .collect(),
                n_left_out: n.saturating_sub(40),
            }],
            numbers: vec![Histogram {
                name: EVIL.to_owned(),
                low: 18.0,
                width: 2.0,
                counts: vec![1, 5, 0, 3],
                cuts: vec![22.0],
            }],
            sizes: vec![SizeCount { height: 512, width: 384, n_images: 20_000 }],
            n_other_sizes: 1,
            n_unmeasured: 7,
        },
        setup: Setup {
            command: EVIL.to_owned(),
            changed: vec![Setting {
                path: EVIL.to_owned(),
                value: EVIL.to_owned(),
                default: String::new(),
            }],
            settings: EVIL.to_owned(),
            ..Setup::default()
        },
    };
    Contents { title: EVIL.to_owned(), made: "now".to_owned(), comparison: None, runs: vec![run] }
}

/// `a` and `b`, or with evil names.
fn names(n: usize) -> Vec<String> {
    (0..n).map(|it| format!("{EVIL} {it}")).collect()
}

fn parse(page: &str) -> Document<'_> {
    let options = ParsingOptions { allow_dtd: true, ..ParsingOptions::default() };
    Document::parse_with_options(page, options).unwrap()
}

fn elements<'a>(page: &'a Document<'a>, name: &str) -> Vec<Node<'a, 'a>> {
    page.descendants().filter(|it| it.has_tag_name(name)).collect()
}

fn text(of: Node<'_, '_>) -> String {
    of.descendants().filter(Node::is_text).filter_map(|it| it.text()).collect()
}

/// Whether a page is well-formed, has every section in order, and can be read without colour, images or a mouse.
#[track_caller]
fn check(page: &str, n_runs: usize) {
    assert!(page.starts_with("<!DOCTYPE html>"), "{}", &page[..40]);
    let page = &parse(page);
    let ids: Vec<&str> = page.descendants().filter_map(|it| it.attribute("id")).collect();
    let unique: BTreeSet<&str> = ids.iter().copied().collect();
    assert_eq!(unique.len(), ids.len(), "{ids:?}");
    let sections = elements(page, "section").into_iter().filter_map(|it| it.attribute("id"));
    let sections: Vec<&str> = sections.filter(|&it| it != "comparison").collect();
    let expected = (1..=n_runs).flat_map(|run| SECTIONS.map(|it| format!("r{run}-{it}")));
    assert_eq!(sections, expected.collect::<Vec<String>>());
    // Every link of the contents leads to its section.
    let links = elements(page, "a").into_iter().filter_map(|it| it.attribute("href"));
    let links: Vec<&str> = links.collect();
    assert!(links.iter().all(|it| unique.contains(it.trim_start_matches('#'))), "{links:?}");
    assert!(sections.iter().all(|it| links.contains(&format!("#{it}").as_str())), "{links:?}");
    // Headings skip no level.
    let levels = page.descendants().filter_map(|it| {
        it.tag_name().name().strip_prefix('h').and_then(|level| level.parse::<usize>().ok())
    });
    let levels: Vec<usize> = levels.collect();
    assert_eq!(levels[0], 1);
    assert!(levels.windows(2).all(|it| it[1] <= it[0] + 1), "{levels:?}");
    for it in elements(page, "th") {
        assert!(it.has_attribute("scope") && !text(it).trim().is_empty(), "{it:?}");
    }
    for it in elements(page, "table") {
        assert!(it.children().any(|it| it.has_tag_name("caption")), "{it:?}");
    }
    for it in elements(page, "img") {
        assert!(it.attribute("alt").is_some_and(|it| !it.is_empty()), "{it:?}");
    }
    for it in elements(page, "svg") {
        let has_title = it.children().any(|it| it.has_tag_name("title") && !text(it).is_empty());
        let is_image = it.attribute("role") == Some("img") && has_title;
        assert!(is_image || it.attribute("aria-hidden") == Some("true"), "{it:?}");
    }
    // What scrolls is reached by the keyboard, and has a name.
    for it in page.descendants().filter(|it| it.attribute("class") == Some("scroll")) {
        assert!(it.has_attribute("tabindex") && it.has_attribute("aria-label"), "{it:?}");
    }
}

/// Whether a page reads nothing, neither from a network nor from disk.
#[track_caller]
fn check_alone(page: &str) {
    for outside in ["http:", "https:", "@import", "@font-face", "<script", "<link", "<iframe"] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(page.split("url(").skip(1).all(|it| it.starts_with("#hatch)")));
    for it in parse(page).descendants().flat_map(|it| it.attributes()) {
        let is_inside = match it.name() {
            "src" => it.value().starts_with("data:image/"),
            "href" => it.value().starts_with('#'),
            "srcset" | "data" | "action" | "poster" => false,
            name => !name.starts_with("on"),
        };
        assert!(is_inside, "{} = {}", it.name(), it.value());
    }
}

#[test]
fn a_page_is_complete_and_reads_nothing_whatever_the_names_are() {
    for n in [1, 2, 18, 40, 97] {
        let page = html(&contents(&names(n), 6)).unwrap();
        check(&page, 1);
        check_alone(&page);
        let parsed = parse(&page);
        let title = elements(&parsed, "h1").into_iter().map(text).next();
        assert_eq!(title.as_deref(), Some(EVIL));
        assert!(text(parsed.root_element()).contains(&format!("{EVIL} 0")));
        assert_eq!(page.contains("class=\"heat"), n <= 40, "{n} classes");
        let caption = "Scores on the test set (21 images of 3 people)";
        assert!(text(parsed.root_element()).contains(caption));
        assert!(page.contains("Macro F1, mean of 5 folds"));
    }
    let hangul = html(&contents(&["마스크 착용".to_owned(), "미착용".to_owned()], 2)).unwrap();
    check(&hangul, 1);
    assert!(hangul.contains("마스크 착용"));
}

#[test]
fn a_page_without_anything_has_every_section() {
    let empty = Contents { runs: vec![RunReport::default()], ..Contents::default() };
    let page = html(&empty).unwrap();
    check(&page, 1);
    check_alone(&page);
    for none in ["Nothing was trained", "No image is predicted wrongly", "No label is likely wrong"]
    {
        assert!(page.contains(none), "{none}");
    }
    assert!(!page.contains("Scores on the test set"));
    // No group has a person's attributes.
    assert!(page.contains("The data has no attributes"));
}

#[test]
fn the_page_of_20_000_images_is_under_5_mb() {
    // As many images as a page shows, and 97 classes; nothing else grows with the number of images.
    let page = html(&contents(&names(97), 24)).unwrap();
    assert!(page.len() < 5_000_000, "{}", page.len());
    // The images are embedded as they are, and the rest is small.
    let images: usize = page.split("src=\"").skip(1).filter_map(|it| it.find('"')).sum();
    assert!(page.len() - images < 500_000, "{} of {}", images, page.len());
}

#[test]
fn undefined_numbers_are_undefined() {
    let mut of = contents(&names(2), 2);
    let run = &mut of.runs[0];
    run.scores[0].macro_f1 = Estimate::default();
    run.top_losses[0].probability = f64::NAN;
    run.top_losses[0].is_correct = false;
    let page = html(&of).unwrap();
    check(&page, 1);
    let parsed = parse(&page);
    let section = |id: &str| {
        elements(&parsed, "section").into_iter().find(|it| it.attribute("id") == Some(id)).map(text)
    };
    // Macro F1, balanced accuracy, and ECE, top-2 accuracy of two classes is left out; F1 of two classes; the
    // probability; an error rate.
    for (id, n) in [("r1-verdict", 3 + 2), ("r1-classes", 4), ("r1-losses", 1), ("r1-groups", 22)] {
        let undefined = section(id).map(|it| it.matches("undefined").count());
        assert_eq!(undefined, Some(n), "{id}");
    }
    let lower = page.to_lowercase();
    assert!(!lower.contains(">nan") && !lower.contains(">inf<"));
}

#[test]
fn an_interval_without_width_has_no_spread() {
    let mut of = contents(&names(2), 1);
    let no_spread = Estimate { value: Some(0.25), low: Some(0.25), high: Some(0.25) };
    let run = &mut of.runs[0];
    run.scores[0].macro_f1 = no_spread;
    run.attributes[0].values[0].error_rate = no_spread;
    let page = html(&of).unwrap();
    check(&page, 1);
    for value in ["0.250", "25.0 %"] {
        let shown = format!("{value} <span class=\"limits\">[no spread]</span>");
        assert_eq!(page.matches(&shown).count(), 1, "{value}");
    }
    assert!(!page.contains("[0.250, 0.250]") && page.contains("[0.850, 0.950]"));
}

#[test]
fn a_heat_map_has_counts_shares_and_recall() {
    let page = html(&contents(&["a".to_owned(), "b".to_owned()], 0)).unwrap();
    // Row b: one image of 31 is predicted as a.
    let row = "<tr><th scope=\"row\"><span>b</span></th><td class=\"miss\" style=\"--s:0.129\">1</td>\
               <td class=\"hit\" style=\"--s:0.971\">30</td><td class=\"total\">31</td>\
               <td class=\"total\">96.8 %</td></tr>";
    let lines: String = page.lines().map(str::trim_start).collect();
    assert!(lines.contains(row), "{lines}");
}

#[test]
fn a_difference_is_called_better_or_worse_only_outside_its_interval() {
    let run = |name: &str, difference: Option<[f64; 3]>| ComparedRun {
        name: name.to_owned(),
        score: estimate(0.5),
        difference: difference.map(|[low, value, high]| Estimate {
            value: Some(value),
            low: Some(low),
            high: Some(high),
        }),
        better: difference.map(|_| 0.75),
        why_none: if difference.is_none() { "other classes".to_owned() } else { String::new() },
    };
    let rows = || {
        let others = [[0.01, 0.02, 0.03], [-0.03, -0.02, -0.01], [-0.01, 0.0, 0.01]];
        let others = others.into_iter().map(|it| run("other", Some(it)));
        [run("first", None)].into_iter().chain(others).chain([run("elsewhere", None)]).collect()
    };
    let scope = |more_is_better| ComparedScope {
        name: "joint".to_owned(),
        metric: "a metric".to_owned(),
        more_is_better,
        rows: rows(),
    };
    let results = |more_is_better| {
        let mut of = contents(&names(2), 1);
        of.runs.push(of.runs[0].clone());
        of.comparison =
            Some(Compared { scopes: vec![scope(more_is_better)], ..Compared::default() });
        let page = html(&of).unwrap();
        check(&page, 2);
        check_alone(&page);
        let parsed = parse(&page);
        let section = elements(&parsed, "section")[0];
        let rows = section.descendants().filter(|it| it.has_tag_name("tr")).skip(2);
        let last = rows.filter_map(|it| it.children().rfind(Node::is_element));
        last.map(text).collect::<Vec<String>>()
    };
    let same = "= not distinguishable";
    assert_eq!(results(true), ["reference", "▲ better", "▼ worse", same, "other classes"]);
    assert_eq!(results(false), ["reference", "▼ worse", "▲ better", same, "other classes"]);
}

#[test]
fn a_gap_is_in_percentage_points() {
    let page = html(&contents(&names(2), 1)).unwrap();
    let gap = "<b>20.0 percentage points</b> <span class=\"limits\">[15.0, 25.0]</span>";
    assert!(page.contains(gap), "{page}");
}

#[test]
fn the_limit_of_p_is_beside_each_p() {
    let mut of = contents(&names(2), 1);
    let limit = |of: &Contents| {
        let page = html(of).unwrap();
        let n = page.matches("; p &lt; 0.001, significant below ").count();
        let text = page.split("significant below ").nth(1).unwrap().replace("&#x2f;", "/");
        (n, text.chars().take(27).collect::<String>())
    };
    let (n, text) = limit(&of);
    assert!(n == 1 && text.starts_with("0.05 ("), "{n} {text}");
    let other = AttributeScores { gap: None, ..of.runs[0].attributes[0].clone() };
    let same = of.runs[0].attributes[0].clone();
    of.runs[0].attributes.extend([same.clone(), same, other]);
    assert_eq!(limit(&of), (3, "0.017 (0.05 / 3 attributes)".to_owned()));
}

#[test]
fn labels_that_a_weak_model_doubts_come_with_a_warning() {
    let mut of = contents(&["a".to_owned(), "b".to_owned()], 1);
    let warning = "more likely wrong than the labels";
    // The scope has an accuracy of 0.9, and 1 of 20 labels is doubted.
    let page = html(&of).unwrap();
    assert!(!page.contains(warning));
    assert!(
        page.contains("<dt>Suggested <span class=\"num\">97.0 %</span></dt><dd>b</dd>"),
        "{page}"
    );
    of.runs[0].scores[1].accuracy = Estimate::of(0.79);
    let page = html(&of).unwrap();
    check(&page, 1);
    assert_eq!(page.matches(warning).count(), 1);
    of.runs[0].scores[1].accuracy = Estimate::of(0.8);
    of.runs[0].labels.factors[0].n_errors = 5;
    assert_eq!(html(&of).unwrap().matches(warning).count(), 1);
}

#[test]
fn a_page_is_known_by_its_first_bytes() {
    let page = html(&contents(&[EVIL.repeat(200), "b".to_owned()], 0)).unwrap();
    assert!(is_page(&page.as_bytes()[..HEAD]));
    let other = b"<!DOCTYPE html><meta name=\"generator\" content=\"a tool\"/>";
    for it in [&b""[..], b"steps = 2\n", b"<!DOCTYPE html>", other, &page.as_bytes()[1..]] {
        assert!(!is_page(it));
    }
}

#[test]
fn numbers_and_names_are_formatted_for_reading() {
    let counts = [0, 7, 999, 1000, 20_000, 1_234_567].map(count);
    assert_eq!(counts, ["0", "7", "999", "1,000", "20,000", "1,234,567"]);
    let shares = [0.0, 0.0001, 0.0746, 0.9999, 1.0].map(percent);
    assert_eq!(shares, ["0.0 %", "< 0.1 %", "7.5 %", "> 99.9 %", "100.0 %"]);
    assert_eq!([0.0, 2.0, 0.25, 1.0 / 3.0].map(short), ["0", "2", "0.25", "0.333"]);
    assert_eq!(["", "eu", "EU", "나이"].map(upper_first), ["", "Eu", "EU", "나이"]);
    let of = |it: &str| ticked(it).to_string();
    assert_eq!(of("by `a<b`, `c`"), "by <code>a&lt;b</code>, <code>c</code>");
    assert_eq!(of("a ` b & c"), "a ` b &amp; c");
    let uri = "data:image/jpeg;base64,/9j/4AA=";
    assert_eq!(data_uri(uri).to_string(), uri);
    for other in ["http:", "data:image/png\"", "data:text/html,a", "image.png"] {
        assert_eq!(data_uri(other).to_string(), "", "{other}");
    }
}
