import type { CodegenConfig } from "@graphql-codegen/cli";

const config: CodegenConfig = {
  schema: "../../schema.graphql",
  documents: "src/operations.graphql",
  generates: {
    "src/folio.ts": {
      plugins: ["typescript-operations", "typed-document-node"],
      config: {
        // Operations stay text: nothing of GraphQL is parsed, printed or bundled at run time.
        documentMode: "string",
        useTypeImports: true,
        // A scalar that is new in the schema fails the generation instead of becoming `any`.
        strictScalars: true,
        scalars: {
          // By default an id may be given as a number too; Folio's ids are strings.
          ID: "string",
          CurrencyCode: "string",
          DateTime: "string",
          // A string and never a number: 0.1 + 0.2 is no way to treat money.
          Decimal: "string",
          UUID: "string",
        },
      },
    },
  },
};

export default config;
