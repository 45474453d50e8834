//! What stands around every page: where one is, who one is, what needs one, and the notice after an act.

/// The light or dark of a page: the browser's, or one's own choice kept in a cookie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Theme {
    /// As the browser says.
    #[default]
    System,
    /// Light.
    Light,
    /// Dark.
    Dark,
}

impl Theme {
    /// The word in the cookie and the form.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }

    /// Reads the word; anything else is the browser's choice.
    pub(super) fn parse(word: &str) -> Self {
        match word {
            "light" => Self::Light,
            "dark" => Self::Dark,
            _ => Self::System,
        }
    }

    /// The value of `data-theme`, when it is set.
    pub(super) const fn attribute(self) -> Option<&'static str> {
        match self {
            Self::System => None,
            Self::Light | Self::Dark => Some(self.word()),
        }
    }
}

/// The place in the navigation that a page belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The start.
    Overview,
    /// Sites and what hangs on them.
    Sites,
    /// Jobs.
    Jobs,
    /// Storage and what can be removed.
    Storage,
    /// The audit log.
    AuditLog,
    /// Settings.
    Settings,
}

impl Place {
    const fn word(self) -> &'static str {
        match self {
            Self::Overview => "overview",
            Self::Sites => "sites",
            Self::Jobs => "jobs",
            Self::Storage => "storage",
            Self::AuditLog => "audit",
            Self::Settings => "settings",
        }
    }
}

/// Sign and colour of a state; a word always stands beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    /// Well. Quiet: the word has no colour.
    Ok,
    /// Going on now.
    Now,
    /// A person should look.
    Look,
    /// Failed.
    Bad,
    /// Not in use.
    Off,
    /// Still to be reached.
    Todo,
}

impl Sign {
    /// The word in class and icon names.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Now => "now",
            Self::Look => "look",
            Self::Bad => "bad",
            Self::Off => "off",
            Self::Todo => "todo",
        }
    }
}

/// What an act did, said once on the page after it. Enumerated: no text from an address is ever shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    /// The first user was made.
    Claimed,
    /// A site was made.
    SiteCreated,
    /// A site was deleted.
    SiteDeleted,
    /// An upload was taken in.
    Received,
    /// A deployment was published.
    Published,
    /// The live pointer was moved back.
    RolledBack,
    /// A hostname was added.
    HostnameAdded,
    /// A hostname was removed.
    HostnameRemoved,
    /// A certificate was given.
    CertificateAdded,
    /// A certificate was given that is for no hostname yet.
    CertificateIdle,
    /// A certificate was removed.
    CertificateRemoved,
    /// An authority is asked for a certificate.
    CertificateAsked,
    /// Somebody was shut out.
    BanAdded,
    /// A ban was ended.
    BanRemoved,
    /// A site was taken down.
    TakenDown,
    /// A site was put back.
    PutBack,
    /// A section of the settings of a site was saved.
    SettingsSaved,
    /// Somebody has a password for a site.
    PersonAdded,
    /// Somebody has none any more.
    PersonRemoved,
    /// A link opens a site no longer.
    LinkRemoved,
    /// A site is deployed from a folder from now on.
    WatchBegun,
    /// A site is deployed from no folder any more.
    WatchEnded,
    /// Caches are purged soon.
    Purged,
    /// A job was put back into its queue.
    JobRerun,
    /// A job was cancelled.
    JobCancelled,
    /// A job that runs was told to end.
    JobRuns,
    /// A failed job was put away.
    JobDismissed,
    /// A queue starts no more jobs.
    QueuePaused,
    /// A queue starts jobs again.
    QueueResumed,
    /// A tenant starts no more jobs.
    JobsPaused,
    /// A tenant starts jobs again.
    JobsResumed,
    /// A schedule was made.
    ScheduleMade,
    /// A schedule was deleted.
    ScheduleDeleted,
    /// A schedule asks for no more jobs.
    SchedulePaused,
    /// A schedule asks for jobs again.
    ScheduleResumed,
    /// The job of a schedule was asked for.
    ScheduleRun,
    /// A task of the server was asked to look.
    TaskRun,
    /// The theme was chosen.
    ThemeChosen,
    /// A session was ended.
    SessionEnded,
    /// The password was changed.
    PasswordChanged,
    /// The password was changed, and other browsers have to sign in again.
    PasswordChangedSessionsEnded,
    /// An API key was revoked.
    KeyRevoked,
    /// A user was added.
    UserAdded,
    /// A user was disabled.
    UserDisabled,
    /// A user was enabled.
    UserEnabled,
    /// Unused files were removed.
    StorageCleaned,
    /// The session was ended by its user.
    SignedOut,
}

impl Notice {
    const ALL: [Self; 47] = [
        Self::Claimed,
        Self::SiteCreated,
        Self::SiteDeleted,
        Self::Received,
        Self::Published,
        Self::RolledBack,
        Self::HostnameAdded,
        Self::HostnameRemoved,
        Self::CertificateAdded,
        Self::CertificateIdle,
        Self::CertificateRemoved,
        Self::CertificateAsked,
        Self::BanAdded,
        Self::BanRemoved,
        Self::TakenDown,
        Self::PutBack,
        Self::SettingsSaved,
        Self::PersonAdded,
        Self::PersonRemoved,
        Self::LinkRemoved,
        Self::WatchBegun,
        Self::WatchEnded,
        Self::Purged,
        Self::JobRerun,
        Self::JobCancelled,
        Self::JobRuns,
        Self::JobDismissed,
        Self::QueuePaused,
        Self::QueueResumed,
        Self::JobsPaused,
        Self::JobsResumed,
        Self::ScheduleMade,
        Self::ScheduleDeleted,
        Self::SchedulePaused,
        Self::ScheduleResumed,
        Self::ScheduleRun,
        Self::TaskRun,
        Self::ThemeChosen,
        Self::SessionEnded,
        Self::PasswordChanged,
        Self::PasswordChangedSessionsEnded,
        Self::KeyRevoked,
        Self::UserAdded,
        Self::UserDisabled,
        Self::UserEnabled,
        Self::StorageCleaned,
        Self::SignedOut,
    ];

    /// The word in the cookie.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Claimed => "claimed",
            Self::SiteCreated => "site-created",
            Self::SiteDeleted => "site-deleted",
            Self::Received => "received",
            Self::Published => "published",
            Self::RolledBack => "rolled-back",
            Self::HostnameAdded => "hostname-added",
            Self::HostnameRemoved => "hostname-removed",
            Self::CertificateAdded => "certificate-added",
            Self::CertificateIdle => "certificate-idle",
            Self::CertificateRemoved => "certificate-removed",
            Self::CertificateAsked => "certificate-asked",
            Self::BanAdded => "ban-added",
            Self::BanRemoved => "ban-removed",
            Self::TakenDown => "taken-down",
            Self::PutBack => "put-back",
            Self::SettingsSaved => "settings-saved",
            Self::PersonAdded => "person-added",
            Self::PersonRemoved => "person-removed",
            Self::LinkRemoved => "link-removed",
            Self::WatchBegun => "watch-begun",
            Self::WatchEnded => "watch-ended",
            Self::Purged => "purged",
            Self::JobRerun => "job-rerun",
            Self::JobCancelled => "job-cancelled",
            Self::JobRuns => "job-runs",
            Self::JobDismissed => "job-dismissed",
            Self::QueuePaused => "queue-paused",
            Self::QueueResumed => "queue-resumed",
            Self::JobsPaused => "jobs-paused",
            Self::JobsResumed => "jobs-resumed",
            Self::ScheduleMade => "schedule-made",
            Self::ScheduleDeleted => "schedule-deleted",
            Self::SchedulePaused => "schedule-paused",
            Self::ScheduleResumed => "schedule-resumed",
            Self::ScheduleRun => "schedule-run",
            Self::TaskRun => "task-run",
            Self::ThemeChosen => "theme-chosen",
            Self::SessionEnded => "session-ended",
            Self::PasswordChanged => "password-changed",
            Self::PasswordChangedSessionsEnded => "password-changed-sessions-ended",
            Self::KeyRevoked => "key-revoked",
            Self::UserAdded => "user-added",
            Self::UserDisabled => "user-disabled",
            Self::UserEnabled => "user-enabled",
            Self::StorageCleaned => "storage-cleaned",
            Self::SignedOut => "signed-out",
        }
    }

    /// Reads the word.
    pub(super) fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.word() == word)
    }

    /// The sentence that is shown.
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Claimed => "This server is yours. The claim link no longer works.",
            Self::SiteCreated => "The site is there. It answers with a short page until you publish something.",
            Self::SiteDeleted => {
                "The site is deleted. Its hostnames answer no more; its name rests 30 days before anybody can take it."
            }
            Self::Received => "The files are here. They are checked now; the log below says how it goes.",
            Self::Published => "Published. Visitors get this deployment now.",
            Self::RolledBack => {
                "Rolled back. Visitors get this deployment now; the one before is kept and can be published again."
            }
            Self::HostnameAdded => "The hostname is added. The site answers under it as soon as it points here.",
            Self::HostnameRemoved => "The hostname is removed. The site no longer answers under it.",
            Self::CertificateAdded => "The certificate is here, and shown to visitors.",
            Self::CertificateIdle => {
                "The certificate is here. It is for none of your hostnames yet: give one of its names to a site."
            }
            Self::CertificateRemoved => "The certificate is removed.",
            Self::BanAdded => "Shut out. Every server holds it within seconds.",
            Self::BanRemoved => "The ban is ended. Every server knows it within seconds.",
            Self::CertificateAsked => "An authority is asked for a certificate now. Look again in a moment.",
            Self::TakenDown => "The site is taken down. Visitors read the reason and get none of its files.",
            Self::PutBack => "The site is back. Visitors get what they got before.",
            Self::SettingsSaved => "Saved. Visitors are served by it now.",
            Self::PersonAdded => {
                "They can open the site with that password. Hand it over by another way than the address."
            }
            Self::PersonRemoved => "They are asked for a password again, and have none.",
            Self::LinkRemoved => "The link opens the site no longer, for nobody.",
            Self::WatchBegun => {
                "The folder is watched. It is deployed as soon as nothing in it has changed for two seconds."
            }
            Self::WatchEnded => "The folder is watched no longer. What is live stays.",
            Self::Purged => "The caches are purged in a moment. Jobs says whether that went well.",
            Self::JobRerun => "The job is in its queue again.",
            Self::JobCancelled => "The job is cancelled.",
            Self::JobRuns => "The job runs, so it was told to end. It has ten seconds for that.",
            Self::JobDismissed => "The job is put away.",
            Self::QueuePaused => "The queue is paused, also over a restart. What runs goes on; what comes waits.",
            Self::QueueResumed => "The queue goes on.",
            Self::JobsPaused => "The jobs are paused, also over a restart. What runs goes on; what comes waits.",
            Self::JobsResumed => "The jobs go on.",
            Self::ScheduleMade => "The schedule is made. Its next time is in the list.",
            Self::ScheduleDeleted => "The schedule is deleted. Jobs that it has asked for stay.",
            Self::SchedulePaused => "The schedule is paused. It asks for nothing until it is resumed.",
            Self::ScheduleResumed => "The schedule goes on, from its next time.",
            Self::ScheduleRun => "The job is asked for. It is in its queue in a moment.",
            Self::TaskRun => "The task looks now. Load the page again to see how that ended.",
            Self::ThemeChosen => "Saved in this browser.",
            Self::SessionEnded => "The session is ended. That browser has to sign in again.",
            Self::PasswordChanged => "The password is changed.",
            Self::PasswordChangedSessionsEnded => {
                "The password is changed. Your other browsers are signed out and need the new one."
            }
            Self::KeyRevoked => "The key is revoked. Whatever used it is refused from now on.",
            Self::UserAdded => "The user is added and can sign in.",
            Self::UserDisabled => "The user is disabled. Their sessions are ended and their keys are refused.",
            Self::UserEnabled => "The user is enabled and can sign in again.",
            Self::StorageCleaned => "The unused files are removed.",
            Self::SignedOut => "You are signed out.",
        }
    }
}

/// What stands around a page of somebody who is signed in.
#[derive(Clone, Debug)]
pub(super) struct Shell {
    /// The panel's own hostname.
    pub(super) server: String,
    /// The e-mail of who is signed in.
    pub(super) user: String,
    /// `super admin`, `admin`, `user`.
    pub(super) grade: &'static str,
    /// Whether they may manage users and read the audit log of their tenant.
    pub(super) manages_tenant: bool,
    /// Whether they may see what concerns the whole server.
    pub(super) manages_server: bool,
    /// Light or dark.
    pub(super) theme: Theme,
    /// Where the page belongs.
    pub(super) place: Place,
    /// Failed jobs that nobody has put away.
    pub(super) jobs_failed: i64,
    /// What the act before did.
    pub(super) notice: Option<Notice>,
}

/// What stands around a page of somebody who is not signed in: one thing in the middle.
#[derive(Clone, Debug)]
pub(super) struct Alone {
    /// The panel's own hostname.
    pub(super) server: String,
    /// Light or dark.
    pub(super) theme: Theme,
}

impl Shell {
    /// Whether the page belongs to the place with this word.
    pub(super) fn here(&self, word: &str) -> bool {
        self.place.word() == word
    }
}

/// A link to another view of the same thing.
#[derive(Clone, Debug)]
pub(super) struct Tab {
    /// Its word.
    pub(super) word: &'static str,
    /// Its address.
    pub(super) href: String,
    /// Whether it is this one.
    pub(super) here: bool,
}

impl Tab {
    /// The tabs `(word, address)` with the one at `here` marked.
    pub(super) fn list<const N: usize>(here: &str, tabs: [(&'static str, String); N]) -> Vec<Self> {
        tabs.into_iter().map(|(word, href)| Self { here: word == here, word, href }).collect()
    }
}

/// A step on the way to a page.
#[derive(Clone, Debug)]
pub(super) struct Crumb {
    /// Its words.
    pub(super) text: String,
    /// Its address.
    pub(super) href: String,
}

impl Crumb {
    /// A step.
    pub(super) fn new(text: impl Into<String>, href: impl Into<String>) -> Self {
        Self { text: text.into(), href: href.into() }
    }
}

/// The end of a long list: how much is shown, and where it goes on.
#[derive(Clone, Debug, Default)]
pub(super) struct Pager {
    /// `1 to 50 of 318`.
    pub(super) shown: String,
    /// The first page, when this is another one.
    pub(super) first: Option<String>,
    /// The next page.
    pub(super) next: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_and_themes_have_words() {
        for notice in Notice::ALL {
            assert_eq!(Notice::parse(notice.word()), Some(notice));
            assert!(notice.text().ends_with('.'));
        }
        assert_eq!(Notice::parse("You have been hacked"), None);
        for theme in [Theme::System, Theme::Light, Theme::Dark] {
            assert_eq!(Theme::parse(theme.word()), theme);
        }
        assert_eq!(Theme::parse("\"><script>"), Theme::System);
    }
}
