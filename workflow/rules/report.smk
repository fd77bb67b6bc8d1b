# Figures and pages of `snakemake --report`: a rule each, from the tables in workflow/report.

import yaml

FIGURES, PAGES = (
    yaml.safe_load((REPO_ROOT / "workflow" / "report" / name).read_text(encoding="utf-8"))
    for name in ["figures.yaml", "pages.yaml"]
)
# Of a study of group attention, they hold that of the mechanism, too.
GATES = {"soft": "soft_gates", "group_value": "group_gates"}
SOFT_MASKS = sweep_variants(SOFT_SETTINGS["measures"], SOFT_SETTINGS["temperatures"], [])[1:]


report: "../report/workflow.rst"


for family, figure in [(family, figure) for family in FIGURES for figure in FIGURES[family]]:
    entry, drawn = FIGURES[family][figure], f"results/figures/{{study}}_{figure}"

    # As SVG and PNG; every one carries the study's validity.
    rule:
        name:
            f"plot_{figure}"
        input:
            **{name: each(patterns) for name, patterns in entry["inputs"].items()},
            validity=f"results/{{study}}_{GATES.get(family, 'validity')}.csv",
        output:
            svg=in_report(f"{drawn}.svg", f"figures/{figure}", entry, f"figure: {entry['shows']}"),
            png=f"{drawn}.png",
        log:
            f"results/logs/plot_{figure}/{{study}}.log",
        conda:
            "../../envs/environment.yaml"
        params:
            study=study_of,
            draw=entry["draw"],
            settings=settings_of(entry.get("settings", [])),
        script:
            "../../scripts/plot.py"


for family, pages in PAGES.items():

    # Tables that sort and filter, under the banner of their study.
    rule:
        name:
            f"report_{family}"
        input:
            **{page: each(entry["inputs"]) for page, entry in pages.items()},
            gates=f"results/{{study}}_{GATES.get(family, 'validity')}.csv",
        output:
            **{
                page: in_report(
                    f"results/report/{{study}}_{page}.html", f"pages/{page}", entry, entry["shows"]
                )
                for page, entry in pages.items()
            },
        log:
            f"results/logs/report_{family}/{{study}}.log",
        localrule: True
        conda:
            "../../envs/environment.yaml"
        params:
            pages={
                page: (entry.get("page", "table_page"), entry["title"])
                for page, entry in pages.items()
            },
            settings=config if family == "configuration" else {},
        script:
            "../../scripts/report.py"


# All of study 1, for the studies of the settings.
rule soft:
    input:
        [f"results/{study}_soft_{table}.csv" for study in config["run"] for table in SOFT_TABLES],
        shown("soft"),
