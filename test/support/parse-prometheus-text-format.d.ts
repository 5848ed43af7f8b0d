/** The package has no types. Of a histogram it keeps neither labels nor sums. */
declare module "parse-prometheus-text-format" {
  export interface Family {
    readonly name: string
    readonly help: string
    readonly type: "COUNTER" | "GAUGE" | "HISTOGRAM" | "SUMMARY" | "UNTYPED"
    readonly metrics: ReadonlyArray<{ readonly value?: string; readonly labels?: { readonly [label: string]: string } }>
  }
  export default function parse(text: string): ReadonlyArray<Family>
}
