mod messages;

fn main() {}
