fn main() {
    use data::drawn::*;
    let n: usize = std::env::args().nth(1).unwrap().parse().unwrap();
    let start: usize = std::env::args().nth(2).unwrap().parse().unwrap();
    let (h, w) = (192, 144);
    let mut sheet = image::RgbImage::new(7 * w, n as u32 * h);
    let t = std::time::Instant::now();
    for i in 0..n {
        let p = Person::new(base::Seed(0), i + start);
        println!("{i} {:?} {}", p.gender, p.age);
        for (j, s) in Shot::ALL.iter().enumerate() {
            let pic = draw(&p, *s, [h as usize, w as usize]);
            image::imageops::replace(
                &mut sheet,
                &pic,
                (j as u32 * w) as i64,
                (i as u32 * h) as i64,
            );
        }
    }
    println!("{:?} each", t.elapsed() / (n as u32 * 7));
    sheet.save("/tmp/sheet.png").unwrap();
}
