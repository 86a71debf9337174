//! The answer file of an unattended installation: a template with `{{names}}`, filled with typed values.

use super::recipe::Recipe;
use super::wim::Edition;

/// The template.
const TEMPLATE: &str = include_str!("../../../vm-images/windows/autounattend.xml");

/// Setup's questions about hardware, by the values that answer them.
const HARDWARE_CHECKS: [&str; 5] =
    ["BypassTPMCheck", "BypassSecureBootCheck", "BypassRAMCheck", "BypassCPUCheck", "BypassStorageCheck"];

/// The answers for one installation.
#[derive(Clone, Debug)]
pub struct Answers<'a> {
    /// How the machine is made.
    pub recipe: &'a Recipe,
    /// What is installed.
    pub edition: &'a Edition,
    /// Password of the account that tests run under. The machine has no network; it is no secret.
    pub password: &'a str,
}

impl Answers<'_> {
    /// The file's text.
    #[must_use]
    pub fn file(&self) -> String {
        let values = [
            ("locale", escape(&self.recipe.locale)),
            ("edition", escape(&self.edition.name)),
            ("computer_name", escape(&self.recipe.computer_name)),
            ("password", escape(self.password)),
            ("setup_commands", self.setup_commands()),
            ("specialize_step", escape(&step("specialize"))),
            ("first_logon", escape(&on_the_small_disk(SETUP, "call {}", " %d:"))),
        ];
        values.iter().fold(TEMPLATE.to_owned(), |text, (name, value)| text.replace(&format!("{{{{{name}}}}}"), value))
    }

    /// What Setup runs when it begins: it says so, and answers its own questions about hardware before it asks them.
    fn setup_commands(&self) -> String {
        let check = |name: &&str| format!(r"reg add HKLM\SYSTEM\Setup\LabConfig /v {name} /t REG_DWORD /d 1 /f");
        let checks = HARDWARE_CHECKS.iter().filter(|_| self.recipe.bypass_hardware_checks).map(check);
        let command = |(at, command): (usize, String)| {
            format!(
                "<RunSynchronousCommand wcm:action=\"add\"><Order>{}</Order><Path>{}</Path></RunSynchronousCommand>",
                at + 1,
                escape(&command)
            )
        };
        [step("windowsPE")].into_iter().chain(checks).enumerate().map(command).collect()
    }
}

/// The agent and what is done at the first logon, on the small disk.
pub const AGENT: &str = "rig/agent.exe";
/// See [`AGENT`].
pub const SETUP: &str = "rig/setup.cmd";
/// Names the folder of further drivers for this system, if there are any.
pub const DRIVERS: &str = "rig/drivers.txt";

/// The script that is run at the first logon.
const SETUP_SCRIPT: &str = include_str!("../../../vm-images/windows/setup.cmd");

/// What is done at the first logon of a machine made by this recipe, with the ends of lines that the command interpreter wants.
#[must_use]
pub fn setup_script(recipe: &Recipe) -> String {
    let verifier = match recipe.verified_drivers.join(" ") {
        none if none.is_empty() => "rem Driver Verifier is off.".to_owned(),
        drivers => format!("verifier /standard /driver {drivers}\nverifier /bootmode resetonbootfail"),
    };
    SETUP_SCRIPT.replace("{{verifier}}", &verifier).replace('\n', "\r\n")
}

/// The command that says that a step begins. Nothing stops because nobody heard it.
fn step(name: &str) -> String {
    format!("{} & exit /b 0", on_the_small_disk(AGENT, "{}", &format!(" step {name}")))
}

/// A command that runs a program of the small disk, whichever drive that is.
fn on_the_small_disk(file: &str, call: &str, words: &str) -> String {
    let path = format!(r"%d:\{}", file.replace('/', r"\"));
    format!("cmd /c for %d in (C D E F G H I J) do if exist {path} {}{words}", call.replace("{}", &path))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(bypass_hardware_checks: bool) -> Recipe {
        Recipe {
            title: "t".into(),
            edition: "e".into(),
            build: 26100,
            locale: "en-US".into(),
            computer_name: "RIG".into(),
            disk_gib: 40,
            memory_mib: 4096,
            bypass_hardware_checks,
            verified_drivers: Vec::new(),
            virtio_folder: "2k25".into(),
        }
    }

    fn file(bypass_hardware_checks: bool, edition: &str) -> String {
        let edition = Edition { index: 1, name: edition.to_owned(), title: String::new(), build: 26100, is_x64: true, bytes: 0 };
        Answers { recipe: &recipe(bypass_hardware_checks), edition: &edition, password: "a<b>&\"c" }.file()
    }

    #[test]
    fn the_file_is_well_formed_and_no_question_is_left() {
        for bypass in [false, true] {
            let text = file(bypass, "Windows & Co");
            let document = roxmltree::Document::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
            assert!(!text.contains("{{"), "{text}");
            let value = |name: &str| {
                document.descendants().filter(|node| node.has_tag_name(("urn:schemas-microsoft-com:unattend", name))).count()
            };
            let hardware = document
                .descendants()
                .filter(|node| node.is_element() && node.text().is_some_and(|text| text.contains("LabConfig")));
            assert_eq!(hardware.count() > 0, bypass);
            assert_eq!(value("FirstLogonCommands"), 1);
            assert!(document.descendants().any(|node| node.text() == Some("Windows & Co")));
            assert!(document.descendants().any(|node| node.text() == Some("a<b>&\"c")));
        }
    }

    #[test]
    fn passes_components_and_orders_are_as_the_schema_wants_them() {
        let text = file(true, "e");
        let document = roxmltree::Document::parse(&text).unwrap();
        let passes: Vec<_> = document.root_element().children().filter_map(|node| node.attribute("pass")).collect();
        assert_eq!(passes, ["windowsPE", "specialize", "oobeSystem"]);
        for component in document.descendants().filter(|node| node.tag_name().name() == "component") {
            for attribute in ["name", "processorArchitecture", "publicKeyToken", "language", "versionScope"] {
                assert!(component.has_attribute(attribute), "{attribute}");
            }
        }
        for list in document.descendants().filter(|node| node.tag_name().name() == "RunSynchronous") {
            let orders: Vec<u32> = list
                .descendants()
                .filter(|node| node.tag_name().name() == "Order")
                .map(|node| node.text().unwrap().parse().unwrap())
                .collect();
            assert_eq!(orders, (1..).take(orders.len()).collect::<Vec<u32>>());
            assert!(
                list.descendants().filter(|node| node.tag_name().name() == "Path").all(|node| node.text().unwrap().len() <= 259)
            );
        }
    }

    #[test]
    fn the_script_at_the_first_logon_has_every_setting_in_its_own_line() {
        let verified = Recipe { verified_drivers: vec!["relay.sys".into(), "mine.sys".into()], ..recipe(false) };
        let script = setup_script(&verified);
        assert!(!script.contains("{{") && script.split("\r\n").all(|line| !line.contains('\n')), "{script}");
        let lines: Vec<&str> = script.split("\r\n").collect();
        for wanted in [
            "bcdedit /set testsigning on",
            "bcdedit /dbgsettings serial debugport:1 baudrate:115200",
            "bcdedit /debug on",
            "verifier /standard /driver relay.sys mine.sys",
            "verifier /bootmode resetonbootfail",
            r"reg add HKLM\SYSTEM\CurrentControlSet\Control\CrashControl /v CrashDumpEnabled /t REG_DWORD /d 2 /f",
            r"reg add HKLM\SYSTEM\CurrentControlSet\Control\CrashControl /v AutoReboot /t REG_DWORD /d 1 /f",
            r"reg add HKLM\SYSTEM\CurrentControlSet\Control\CrashControl /v NMICrashDump /t REG_DWORD /d 1 /f",
            "powercfg /hibernate off",
            "sc config wuauserv start= disabled",
            r"if exist %1\rig\drivers.txt call :drivers %1",
        ] {
            assert!(lines.contains(&wanted), "{wanted}: {script}");
        }
        assert!(!setup_script(&recipe(false)).contains("verifier /standard"));
    }

    #[test]
    fn every_step_is_said_by_the_agent_on_whichever_drive_it_is() {
        assert_eq!(
            step("specialize"),
            r"cmd /c for %d in (C D E F G H I J) do if exist %d:\rig\agent.exe %d:\rig\agent.exe step specialize & exit /b 0"
        );
        let text = file(false, "e");
        for part in ["step windowsPE", "step specialize", r"call %d:\rig\setup.cmd %d:"] {
            assert!(text.contains(part), "{part}");
        }
    }
}
