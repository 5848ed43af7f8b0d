/** Which passwords may guard a vault or an export. */
import { Redacted } from "effect"

/** The length of a password in bytes of UTF-8, in Unicode form C. */
const minBytes = 8
const maxBytes = 1024

/** Passwords that every guesser tries first; compared in lower case. */
const famous: ReadonlySet<string> = new Set([
  "00000000", "11111111", "12341234", "12344321", "12345678", "123456789", "1234567890", "123123123", "1q2w3e4r", "1qaz2wsx", "87654321",
  "88888888", "987654321", "abcd1234", "abc12345", "adminadmin", "admin123", "admin1234", "administrator", "asdfghjk", "asdfghjkl",
  "baseball", "changeme", "changeit", "change-me", "computer", "football", "iloveyou", "letmein1", "letmein123", "michelle", "passw0rd",
  "p@ssw0rd", "p@ssword", "password", "password!", "password1", "password12", "password123", "password1234", "princess", "q1w2e3r4",
  "qwer1234", "qwerty12", "qwerty123", "qwertyui", "qwertyuiop", "secret123", "starwars", "sunshine", "superman", "test1234", "tokenhub",
  "tokenhub1", "tokenhub123", "trustno1", "welcome1", "welcome123", "zaq12wsx", "zxcvbnm1"
])

/** Whether a password has a length that the rule allows; one that has not opens nothing and need not be derived from. */
export const hasPasswordLength = (password: Redacted.Redacted): boolean => {
  const bytes = Buffer.byteLength(Redacted.value(password).normalize("NFC"), "utf8")
  return bytes >= minBytes && bytes <= maxBytes
}

/** What is wrong with a new password, as the end of a sentence that starts with its name; undefined where it is good. */
export const passwordFault = (password: Redacted.Redacted): string | undefined => {
  const text = Redacted.value(password).normalize("NFC")
  if (!text.isWellFormed()) return "must be valid Unicode text"
  if (!hasPasswordLength(password)) return `must have ${minBytes} to ${maxBytes} bytes`
  return famous.has(text.toLowerCase()) ? "is one of those that every guesser tries first; choose another" : undefined
}

/** Likewise of a new admin password, which must reach the admin routes as a bearer token: HTTP drops blanks around it. */
export const adminPasswordFault = (password: Redacted.Redacted): string | undefined =>
  passwordFault(password)
  ?? (/^ | $|\p{Cc}/u.test(Redacted.value(password))
    ? "must neither begin or end with a blank nor have control characters, which no HTTP header carries"
    : undefined)
