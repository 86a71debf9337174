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
            ("hardware_check_commands", self.hardware_check_commands()),
        ];
        values.iter().fold(TEMPLATE.to_owned(), |text, (name, value)| text.replace(&format!("{{{{{name}}}}}"), value))
    }

    /// Commands that answer Setup's questions about hardware before it asks them; the element must not be empty, so that it stands
    /// here whole.
    fn hardware_check_commands(&self) -> String {
        if !self.recipe.bypass_hardware_checks {
            return String::new();
        }
        let command = |(at, name): (usize, &&str)| {
            format!(
                "<RunSynchronousCommand wcm:action=\"add\"><Order>{}</Order>\
                 <Path>reg add HKLM\\SYSTEM\\Setup\\LabConfig /v {name} /t REG_DWORD /d 1 /f</Path></RunSynchronousCommand>",
                at + 1
            )
        };
        let commands: String = HARDWARE_CHECKS.iter().enumerate().map(command).collect();
        format!("<RunSynchronous>{commands}</RunSynchronous>")
    }
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
        }
    }

    fn file(bypass_hardware_checks: bool, edition: &str) -> String {
        let edition = Edition { index: 1, name: edition.to_owned(), build: 26100, is_x64: true, bytes: 0 };
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
            assert_eq!(value("RunSynchronous"), if bypass { 2 } else { 1 });
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
}
