/**
 * A self-signed certificate, made on the spot: enough of X.509 (RFC 5280) in DER for a TLS server that must not be
 * trusted.
 */
import { generateKeyPairSync, sign } from "node:crypto"

const der = (tag: number, ...content: ReadonlyArray<Uint8Array>): Buffer => {
  const body = Buffer.concat(content)
  const length = body.length < 128
    ? Buffer.of(body.length)
    : body.length < 256
    ? Buffer.of(0x81, body.length)
    : Buffer.of(0x82, body.length >> 8, body.length & 0xff)
  return Buffer.concat([Buffer.of(tag), length, body])
}

const sequence = (...content: ReadonlyArray<Uint8Array>) => der(0x30, ...content)
const integer = (value: number) => der(0x02, Buffer.of(value))
const utcTime = (text: string) => der(0x17, Buffer.from(text))
/** ecdsa-with-SHA256, 1.2.840.10045.4.3.2 */
const ecdsaSha256 = sequence(der(0x06, Buffer.from("2a8648ce3d040302", "hex")))
/** id-at-commonName, 2.5.4.3 */
const commonName = der(0x06, Buffer.of(0x55, 0x04, 0x03))

/** A P-256 key and its self-signed certificate for `name`, both in PEM, valid from 2020 to 2049. */
export const selfSigned = (name: string): { readonly key: string; readonly cert: string } => {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" })
  const subject = sequence(der(0x31, sequence(commonName, der(0x0c, Buffer.from(name)))))
  const validity = sequence(utcTime("200101000000Z"), utcTime("491231235959Z"))
  const version3 = der(0xa0, integer(2))
  const body = sequence(
    version3,
    integer(1),
    ecdsaSha256,
    subject,
    validity,
    subject,
    publicKey.export({ type: "spki", format: "der" })
  )
  const signature = der(0x03, Buffer.of(0), sign("sha256", body, privateKey))
  const base64 = sequence(body, ecdsaSha256, signature).toString("base64").replace(/.{1,64}/g, "$&\n")
  return {
    key: privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
    cert: `-----BEGIN CERTIFICATE-----\n${base64}-----END CERTIFICATE-----\n`
  }
}
