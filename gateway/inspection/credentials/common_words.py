"""Words of eight letters and more that reveal no origin of a text: common English and common words of interfaces, in
lower case. Written for this project from everyday texts and MCP tool definitions."""

from __future__ import annotations

from typing import Final

COMMON: Final = frozenset(
    b"""
    absolute absolutely accepted according account accounts accurate achieve achieved actually addition additional
    additionally address addresses afternoon agreement allowing although altogether american analysis announce
    announced anything anywhere apparent apparently appendix application applications appointment appreciate approach
    approaches appropriate approval approved approximately argument arguments arrangement attached attachment
    attachments attempting attention authentication author authorization automatic automatically available
    background balanced beautiful becoming beginning behavior behaviour believed benefits birthday boolean branches
    building buildings business businesses calendar callback cancelled capacity carefully category categories certain
    certainly changed changelog changes channels character characters checking children clearly collection comments
    commercial commitment committee committed communication community companies company's comparison complete
    completed completely completion complexity component components computer concerned condition conditions conference
    configuration configure confirmation confirmed connected connection consider considered consistent construction
    contains contained content contents content-type context continue continued continues contract contribution
    controller convenient conversation copyright corporate correctly correspond countries country's coverage created
    creating creation critical currency currently customer customers database datetime deadline december decided
    decision default defaults definitely definition delivered delivery department dependencies dependency described
    describes description descriptions detailed determine developed developer developers development different
    difficult digital directly director directories directory disabled discussed discussion displayed distribution
    document documentation documents download duration education effective efficient electronic eligible employee
    employees encoding endpoint engineer engineering enterprise environment equipment especially essential establish
    established estimated evaluate evaluation evening eventually everybody everyone everything everywhere evidence
    exactly examples excellent exception exchange executed execution existing expected experience explained
    explanation expression extension external facilities familiar favorite favourite features february feedback
    field fields filename filesystem filtered financial finished following follow-up forecast foreground forever
    format formatted formatting forward forwarded foundation framework frequently function functions furthermore
    generally generate generated generation government greetings guidance happened happening hardware headquarters
    hello highlights historical history hospital hotels however identified identifier identify identity immediate
    immediately implementation implemented important improve improved improvement improvements included includes
    including increase increased indicate indicates individual industry information initial initially input
    inputschema installation installed instance instances instead institute instruction instructions insurance
    integer integration interest interested interesting interface internal international internet interview
    introduction investigate investment invitation involved isn't issues iterate january javascript journal jsonrpc
    junction knowledge language languages latitude launched learning levels library likewise limited listening
    literally literature localhost location locations longitude machine machines maintain maintenance management
    manager manually manufacturer marketing material materials maximum meanwhile measures mechanism meetings
    membership mentioned message messages metadata methods midnight military minimum ministry minutes mistakes
    modified modules monitoring month's morning mountain movement multiple national naturally navigate necessary
    negative network neighborhood nevertheless next-step nothing notice notification notifications november null
    numbers objective objects obviously occasion occurred october official officials offset omitted operating
    operation operational operations opinion opportunities opportunity optional optionally options ordering ordinary
    organisation organization organizations original originally otherwise ourselves outcomes outlined output overall
    overview packages pagination paragraph parameter parameters participants particular particularly partners
    password payment payments people's percent percentage perfect performance performed perhaps permanent permission
    permissions personal personally personnel phone physical pictures pipeline placeholder planning platform please
    pleasure policies political population position positions positive possibilities possibility possible possibly
    potential potentially practical practice precisely preferences preferred preparation prepared presence present
    presentation presented president pressure prevent previous previously primary principal printing priority private
    probably problem problems procedure proceed process processed processes processing produced product production
    products professional programme programs progress projects promised properly properties property proposal
    proposed protected protection protocol provided provider provides providing published purchase purchased purpose
    quantity quarterly question questions quickly rather reached readable reading realized reason reasonable
    reasonably received receiving recently reception recipient recipients recommend recommendation recommendations
    recommended recorded records reference references regarding register registered registration regular regularly
    related relation relationship relationships relatively release released relevant reliable remaining remember
    reminder remote removed repeated replaced replacement report reported reporting repository represent
    representative represents request requested requests require required requirement requirements requires research
    reservation reservations reserved resolved resource resources response responses responsibilities responsibility
    responsible restaurant restaurants restricted resulting results returned returns reviewed reviews revision
    running samples satisfied saturday schedule scheduled scheduling schema science scientific screen searched
    searching seconds secretary sections security selected selection sender sensitive sentence separate separated
    separately september sequence serious seriously service services session settings several shareholder shipping
    shopping shortly shouldn't signature significant significantly similar similarly situation situations software
    solution solutions somebody something sometimes somewhat somewhere specific specifically specification specified
    standard standards starting statement statements statistics straight strategic strategy strength string
    structure structured structuredcontent structures students subject submitted subscription subsequent successful
    successfully suggested suggestion suggestions summaries summarize summary supplies supply support supported
    supporting supposed surprise surrounding switched symbols synchronize systems technical technologies technology
    telephone template templates temporarily temporary terminal terms themselves therefore thinking thousand
    thousands threshold throughout thursday timeout timestamp timezone together tomorrow tonight tracking
    tradition traditional training transaction transactions transfer transferred transport transportation travel
    treatment trouble tuesday tutorial typically ultimately undefined understand understanding unfortunately
    universities university unknown unlikely unless unlimited unnecessary upcoming updated updates upgrading
    upload uploaded usually utility validate validation valuable variable variables variety various vehicles version
    versions visible visiting waiting warnings watching wednesday weekend welcome whatever whenever whereas wherever
    whether without wonderful workflow working workshop workspace wouldn't writing written yesterday yourself
    yourselves application/json text/plain text/html charset=utf-8 utf-8
    """.split()
)

JOINING: Final = frozenset(
    word.decode()
    for word in b"""
    a an and any are as at be been but by can choose could did do does each either enter every few for from had has
    have he her his how if in into is it its least may might more most must my neither no nor not of off on one only
    or other our out over own please shall she should so some such than that the their them then there these they
    this those to too under until up us was we were what when where which while who whose why will with would yes
    yet you your
    """.split()
)
"""Words that join others to a sentence, in lower case."""

NAMING: Final = JOINING.union(
    word.decode()
    for word in b"""
    accept access action active add admin agent alert alias all alpha anonymous api app apply approx apr april
    archive args array asia asset async audit aug august aura auth auto avg aws azure back backend backup bar base
    bash batch baz beta big billing bit blob block board body bool bot box branch browser bucket bug build bulk
    button byte bytes cache cafe call campaign canary cart case catalog cell cent center chain change channel char
    chart chat check checkbox checkout child chrome class claude cli client clock clone close cloud cluster cmdline
    cms code color column command comment commit common composer compute config connect console contact control
    cookie copy core corp count country coupon course cpu cpython create credit crm cron crypto cryptography css csv
    curl current cursor custom cycle daily dart dashboard data date day days deb debian debug dec deepcopy delay
    delete demo deny deploy desk desktop dev device dict diff digest dir direct discount disk display division
    django dns docker docs doctor dollar domain done double down draft drive drop dropbox dry east edge edit editor
    effect elastic element email ember empty enable end energy engine entity entry env equal error europe even event
    example exceed exceeds except exclude exe exec exit expect expects expiry export extra fallback family fargate
    fast feature feb feed fetch file filter final finance find fire firefox first fix fixed flag fleet flow fluent
    folder foo force fork form free fri friday frontend full func gate gateway gcp gecko gem generic get gift git
    github gitlab glob global gmail go gold google grafana grants graph green grid group groupby growth guard guest
    gui guide hand handle handler hard hash head header health help helpful hidden hold home hook host hot hotel
    hour hr html http https httpx hub hybrid iam icon icons id ide idea image import inbox inc index info infra init
    inline insert inspect install int intent inventory invoice io ios ip ipad iphone ipv iso issue item items jan
    java jira job jobs join jpeg jpg js json jul july jun june jwt kafka kernel key keys keyword keywords kind kit
    kube kubernetes kwargs lab label lake lambda landing lang laptop large last latency latest launch layer lead
    leaf ledger left legacy length level lib libs license light limit line link linkedin lint linter linux list live
    load local lock log login logout logs loop low lua luxury mac macintosh macos mail mailbox main make manage map
    mar march mark market master match math max maxsize mcp mcpserver media member memory menu merge meta method
    metric middle migration min mini minute mirror mobile mode model modelcontextprotocol module mon monday mongo
    monitor month monthly move mozilla multi music mysql name nan native nested net new next nginx nightly nlp node
    none north note notes nov npm num number nvidia oauth object ocr oct odd offer office offline offsets okta old
    online opagate open ops option oracle order orders org origin outbox owner oxford pack package page pages parent
    park parse part partner parts pass patch path pay pdf people perl pg phase photo php ping pipe pixel place plain
    plan play player plugin png pod podcast point pointer policy pool port portal ports post postgres power pre
    preset press pretty preview price print pro prod profile program project promo prompt proto proxy public publish
    pull push put py pyproject pytest python quality quarter query queue quick quote rabbit rails ram random range
    rate raw react read reader ready real recent record red redis reduce ref refresh reg regex region reload remove
    render rental reply repo repos reserve reset resize resolve rest result retail retro retry return revenue review
    right robot robots role roles room root route row rpc rss ruby rule run runner runtime rust saas safari safe
    sale sales salesforce sample sandbox sap sat save scale scan scheduler scope script sdk sea search sec second
    secret select selector self sem send sensor sentry seo sep sept series server servers sessions set setting setup
    sh sha share sheet shell shop short show shutdown side sigma sign simple single site size skill skip slack slot
    slowly small sms smtp snapshot social soft sonar sort source south space spark spec speech split sport sprint
    sql squad src ssh ssl stable stack staff stage staging star start stat state static stats status std stdin
    stdlib stdout step stock stop storage store stream strict strong student studio style sub subclass submit
    subpath subtype suffix suite sum sun sunday super supplier survey svc svg swift switch sydney symbol symlink
    sync sys system table tag tail tar target task tax team tech temp tenant term terraform test tests text textbox
    textwrap theme third thread three throws thu thumb ticket tickets tier time tiny title tls tmp today todo token
    tokens tool tools top topic total touch trace track trade trail train transit translate tree trial trigger true
    tsx tue twitter two type typed types ubuntu udp ui uint undo union unique unit unset unwrap update uri url
    urlsafe usa usage usd use user users utc utf util utils uuid value values var vault vendor vercel verify video
    view virtual visit vite vm volume vote vpc vpn vs vscode vue wait wallet warehouse warn warning watch watcher
    weather web webhook website wed week weekly west widget width widths wiki win window windows wire wizard wood
    word words work worker world wrapper write www xcode xml yaml yarn year zero zip zone zulu
    """.split()
)
"""Short words that names of tools, files, services and settings are made of, in lower case, and those that join them."""
