//! Whether a person or a program asks, by what it says of itself.
//!
//! Programs that pretend to be a browser are not found out: telling them would take more than is known here.

/// Words in the `User-Agent` of programs that say so: crawlers, monitors, previews in chats, libraries and tools.
const WORDS: &[&[u8]] = &[
    b"bot",
    b"crawl",
    b"spider",
    b"slurp",
    b"scan",
    b"fetch",
    b"monitor",
    b"uptime",
    b"probe",
    b"check",
    b"preview",
    b"facebookexternalhit",
    b"whatsapp",
    b"embedly",
    b"feed",
    b"rss",
    b"archive",
    b"curl",
    b"wget",
    b"libwww",
    b"python",
    b"httpie",
    b"http-client",
    b"httpclient",
    b"okhttp",
    b"go-http",
    b"java/",
    b"ruby",
    b"perl",
    b"php",
    b"axios",
    b"node-fetch",
    b"undici",
    b"reqwest",
    b"headless",
    b"phantomjs",
    b"lighthouse",
    b"pagespeed",
    b"pingdom",
    b"gptbot",
    b"chatgpt",
    b"claude",
    b"perplexity",
    b"scrapy",
    b"nikto",
    b"nmap",
    b"masscan",
    b"zgrab",
    b"nuclei",
    b"semrush",
    b"ahrefs",
    b"validator",
    b"siteimprove",
];
/// Bytes of a `User-Agent` that are looked at: browsers say less.
const LOOKED_AT: usize = 512;

/// Whether a program asks. Every browser says something of itself, and begins with `Mozilla/` or `Opera/`.
pub fn is_bot(user_agent: Option<&[u8]>) -> bool {
    let Some(agent) = user_agent else { return true };
    let agent = agent.get(..LOOKED_AT).unwrap_or(agent);
    if !agent.starts_with(b"Mozilla/") && !agent.starts_with(b"Opera/") {
        return true;
    }
    let mut lower = [0_u8; LOOKED_AT];
    for (to, from) in lower.iter_mut().zip(agent) {
        *to = from.to_ascii_lowercase();
    }
    let lower = lower.get(..agent.len()).unwrap_or(&[]);
    WORDS.iter().any(|word| memchr::memmem::find(lower, word).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_are_people_and_programs_are_not() {
        for person in [
            "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0",
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1",
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36 Edg/142.0.0.0",
            "Opera/9.80 (J2ME/MIDP; Opera Mini/7.1) Presto/2.8.119 Version/11.10",
        ] {
            assert!(!is_bot(Some(person.as_bytes())), "{person}");
        }
        for program in [
            "",
            "curl/8.5.0",
            "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
            "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; GPTBot/1.2; +https://openai.com/gptbot)",
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 HeadlessChrome/140.0.0.0 Safari/537.36",
            "python-requests/2.32",
            "Mozilla/5.0 (compatible; UptimeRobot/2.0)",
            "chainhost/0.1.0",
        ] {
            assert!(is_bot(Some(program.as_bytes())), "{program}");
        }
        assert!(is_bot(None));
        let long = [b"Mozilla/5.0 ".as_slice(), &[b'x'; 4_000], b"bot"].concat();
        assert!(!is_bot(Some(&long)), "only the beginning is looked at");
    }
}
