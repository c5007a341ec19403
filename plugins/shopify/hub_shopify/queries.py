"""What is asked of Shopify, in GraphQL: Admin API 2025-01. Every document here is checked against Shopify's own schema."""

_MONEY = "{ shopMoney { amount currencyCode } presentmentMoney { amount currencyCode } }"
_MORE = "pageInfo { hasNextPage endCursor }"
_TAXES = f"taxLines {{ title rate ratePercentage priceSet {_MONEY} }}"
#: Lists without pages: one that is full may have been cut, and is refused (see `connector`).
LONGEST = {"transactions": 100, "refunds": 100, "fulfillments": 100}
_LINES = f"""lineItems(first: 100, after: $after) {{
    {_MORE}
    nodes {{
      id name sku quantity currentQuantity isGiftCard
      variant {{ id inventoryItem {{ tracked }} }}
      originalUnitPriceSet {_MONEY}
      discountAllocations {{ allocatedAmountSet {_MONEY} }}
      duties {{ id price {_MONEY} {_TAXES} }}
      {_TAXES}
    }}
  }}"""
_TRANSACTION = f"""id kind status gateway processedAt amountSet {_MONEY} amountRoundingSet {_MONEY}
      parentTransaction {{ id kind gateway }}"""
_REFUND_LINES = f"""{_MORE}
        nodes {{ quantity restockType location {{ id }} lineItem {{ id }} subtotalSet {_MONEY} totalTaxSet {_MONEY} }}"""
_FULFILLMENT_LINES = f"{_MORE} nodes {{ quantity lineItem {{ id }} }}"

ORDER = f"""query Order($id: ID!, $after: String) {{
  order(id: $id) {{
    id name createdAt processedAt updatedAt cancelledAt cancelReason edited test sourceName taxesIncluded dutiesIncluded
    currencyCode presentmentCurrencyCode
    customer {{ id }}
    retailLocation {{ id name }}
    shippingAddress {{ address1 address2 city zip provinceCode countryCodeV2 }}
    totalPriceSet {_MONEY}
    originalTotalPriceSet {_MONEY}
    totalTaxSet {_MONEY}
    totalTipReceivedSet {_MONEY}
    originalTotalDutiesSet {_MONEY}
    additionalFees {{ id name price {_MONEY} {_TAXES} }}
    shippingLines(first: 50, includeRemovals: true) {{
      {_MORE}
      nodes {{ id title isRemoved discountedPriceSet {_MONEY} {_TAXES} }}
    }}
    transactions(first: {LONGEST["transactions"]}) {{ {_TRANSACTION} }}
    refunds(first: {LONGEST["refunds"]}) {{
      id createdAt
      return {{ id }}
      totalRefundedSet {_MONEY}
      duties {{ amountSet {_MONEY} originalDuty {{ id }} }}
      refundLineItems(first: 20) {{ {_REFUND_LINES} }}
      refundShippingLines(first: 10) {{
        {_MORE}
        nodes {{ shippingLine {{ id }} subtotalAmountSet {_MONEY} taxAmountSet {_MONEY} }}
      }}
      orderAdjustments(first: 10) {{ {_MORE} nodes {{ id reason amountSet {_MONEY} taxAmountSet {_MONEY} }} }}
      transactions(first: 20) {{ {_MORE} nodes {{ {_TRANSACTION} }} }}
    }}
    returns(first: 20) {{
      {_MORE}
      nodes {{
        id status
        exchangeLineItems(first: 20) {{ {_MORE} nodes {{ lineItem {{ id }} }} }}
        returnLineItems(first: 20) {{
          {_MORE}
          nodes {{ __typename id ... on ReturnLineItem {{ restockingFee {{ id amountSet {_MONEY} }} }} }}
        }}
        returnShippingFees {{ id amountSet {_MONEY} }}
      }}
    }}
    exchangeV2s(first: 20) {{
      {_MORE}
      nodes {{ id refunds {{ id }} additions {{ lineItems {{ lineItem {{ id }} }} }} }}
    }}
    fulfillments(first: {LONGEST["fulfillments"]}) {{
      id status createdAt deliveredAt
      location {{ id }}
      trackingInfo(first: 1) {{ company number }}
      fulfillmentLineItems(first: 20) {{ {_FULFILLMENT_LINES} }}
    }}
    {_LINES}
  }}
}}"""

#: What was agreed when an order was made and edited; asked for edited orders alone.
AGREEMENTS = f"""query Agreements($id: ID!, $after: String) {{
  order(id: $id) {{
    agreements(first: 10, after: $after) {{
      {_MORE}
      nodes {{
        __typename happenedAt reason
        sales(first: 50) {{
          {_MORE}
          nodes {{
            __typename actionType
            ... on ProductSale {{ lineItem {{ id }} }}
            ... on GiftCardSale {{ lineItem {{ id }} }}
            ... on TipSale {{ lineItem {{ id }} }}
          }}
        }}
      }}
    }}
  }}
}}"""

#: Further pages of a refund's and a fulfilment's lines.
REFUND = f"""query Refund($id: ID!, $after: String) {{
  refund(id: $id) {{ refundLineItems(first: 100, after: $after) {{ {_REFUND_LINES} }} }}
}}"""

FULFILLMENT = f"""query Fulfillment($id: ID!, $after: String) {{
  fulfillment(id: $id) {{ fulfillmentLineItems(first: 100, after: $after) {{ {_FULFILLMENT_LINES} }} }}
}}"""

PRODUCT = """query Product($id: ID!, $after: String) {
  shop { currencyCode }
  product(id: $id) {
    id title vendor productType status updatedAt hasOnlyDefaultVariant isGiftCard
    variants(first: 100, after: $after) {
      pageInfo { hasNextPage endCursor }
      nodes { id sku barcode price updatedAt selectedOptions { name value } inventoryItem { tracked updatedAt } }
    }
  }
}"""

CUSTOMER = """query Customer($id: ID!) {
  customer(id: $id) {
    id displayName email phone state updatedAt
    emailMarketingConsent { marketingState }
    addresses(first: 20) { address1 address2 city zip provinceCode countryCodeV2 }
  }
}"""

LEVEL = """query Level($item: ID!, $location: ID!) {
  inventoryItem(id: $item) {
    id sku
    inventoryLevel(locationId: $location) {
      id updatedAt
      location { id }
      quantities(names: ["available", "committed", "reserved", "damaged", "incoming", "quality_control", "safety_stock"]) {
        name quantity
      }
    }
  }
}"""

LOCATIONS = """query Locations($after: String) {
  locations(first: 250, after: $after) { pageInfo { hasNextPage endCursor } nodes { id } }
}"""

LEVELS = """query Levels($location: ID!, $first: Int!, $after: String, $query: String) {
  location(id: $location) {
    inventoryLevels(first: $first, after: $after, query: $query) {
      pageInfo { hasNextPage endCursor }
      nodes { id updatedAt item { id } location { id } }
    }
  }
}"""

#: What a write needs to know of the variants with these SKUs.
VARIANTS = """query Variants($query: String!, $location: ID!) {
  productVariants(first: 250, query: $query) {
    nodes {
      id sku
      inventoryItem {
        id
        inventoryLevel(locationId: $location) { id quantities(names: ["available"]) { quantity updatedAt } }
      }
    }
  }
}"""

_PRODUCT = """id title vendor productType status hasOnlyDefaultVariant
  metafields(first: 250) { nodes { namespace key value } }"""

FIND_VARIANT = f"""query FindVariant($query: String!) {{
  shop {{ currencyCode }}
  productVariants(first: 3, query: $query) {{ nodes {{ id sku price barcode product {{ {_PRODUCT} }} }} }}
}}"""

KNOWN_VARIANT = f"""query KnownVariant($id: ID!) {{
  shop {{ currencyCode }}
  productVariant(id: $id) {{ id sku price barcode product {{ {_PRODUCT} }} }}
}}"""

FIND_HANDLE = f"""query FindHandle($handle: String!) {{
  productByIdentifier(identifier: {{handle: $handle}}) {{
    {_PRODUCT}
    variants(first: 1) {{ nodes {{ id sku price barcode }} }}
  }}
}}"""

ADJUST = """mutation Adjust($input: InventoryAdjustQuantitiesInput!) {
  inventoryAdjustQuantities(input: $input) { inventoryAdjustmentGroup { id } userErrors { code field message } }
}"""

SET_QUANTITY = """mutation SetQuantity($input: InventorySetQuantitiesInput!) {
  inventorySetQuantities(input: $input) { inventoryAdjustmentGroup { id } userErrors { code field message } }
}"""

SET_VARIANT = """mutation SetVariant($product: ID!, $variants: [ProductVariantsBulkInput!]!) {
  productVariantsBulkUpdate(productId: $product, variants: $variants) {
    productVariants { id }
    userErrors { code field message }
  }
}"""

SET_PRODUCT = """mutation SetProduct($product: ProductUpdateInput!) {
  productUpdate(product: $product) { product { id } userErrors { field message } }
}"""

MAKE_PRODUCT = """mutation MakeProduct($input: ProductSetInput!) {
  productSet(input: $input, synchronous: true) {
    product { id variants(first: 1) { nodes { id } } }
    userErrors { code field message }
  }
}"""

FIND_CUSTOMER = """query FindCustomer($identifier: CustomerIdentifierInput!) {
  customerByIdentifier(identifier: $identifier) { id displayName email phone }
}"""

KNOWN_CUSTOMER = "query KnownCustomer($id: ID!) { customer(id: $id) { id displayName email phone } }"

MAKE_CUSTOMER = """mutation MakeCustomer($input: CustomerInput!) {
  customerCreate(input: $input) { customer { id } userErrors { field message } }
}"""

SET_CUSTOMER = """mutation SetCustomer($input: CustomerInput!) {
  customerUpdate(input: $input) { customer { id } userErrors { field message } }
}"""

DEFINITIONS = """query Definitions($owner: MetafieldOwnerType!, $after: String) {
  metafieldDefinitions(ownerType: $owner, first: 250, after: $after) {
    pageInfo { hasNextPage endCursor }
    nodes { namespace key name type { name } }
  }
}"""

SUBSCRIPTIONS = """query Subscriptions($after: String) {
  webhookSubscriptions(first: 250, after: $after) {
    pageInfo { hasNextPage endCursor }
    nodes { id topic callbackUrl }
  }
}"""

SUBSCRIBE = """mutation Subscribe($topic: WebhookSubscriptionTopic!, $url: URL!) {
  webhookSubscriptionCreate(topic: $topic, webhookSubscription: {callbackUrl: $url, format: JSON}) {
    webhookSubscription { id }
    userErrors { field message }
  }
}"""

UNSUBSCRIBE = """mutation Unsubscribe($id: ID!) {
  webhookSubscriptionDelete(id: $id) { deletedWebhookSubscriptionId userErrors { field message } }
}"""
